-- The projection: rebuilt from the log at any time, so nothing is here that the log has not.

CREATE TABLE IF NOT EXISTS jobs (
    job_id text PRIMARY KEY,
    owner text NOT NULL,
    status text NOT NULL,
    accepted_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    -- contracts.progress.JobView as JSON; bytes, because jsonb refuses what a file name may hold
    view bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, accepted_at DESC);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, accepted_at DESC);

-- Which job a token opens: the owner's own (share_n 0) and every share that is not revoked.
CREATE TABLE IF NOT EXISTS tokens (
    token_sha256 text NOT NULL,
    job_id text NOT NULL REFERENCES jobs ON DELETE CASCADE,
    share_n integer NOT NULL,
    PRIMARY KEY (token_sha256, job_id)
);
CREATE INDEX IF NOT EXISTS tokens_by_job ON tokens (job_id);

-- Jobs that are gone for good, so that a late fact of theirs is neither a job nor a riddle. Forgotten with the log.
CREATE TABLE IF NOT EXISTS expired_jobs (
    job_id text PRIMARY KEY,
    -- of the fact `expired`
    seq bigint NOT NULL
);

-- Messages of the log that are no fact we know; kept for a person to look at.
CREATE TABLE IF NOT EXISTS unknown_facts (
    seq bigint PRIMARY KEY,
    subject text NOT NULL,
    body bytea NOT NULL,
    reason text NOT NULL
);

-- One row: how far the log is projected, and of which log.
CREATE TABLE IF NOT EXISTS watermark (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL,
    log_created_at timestamptz NOT NULL
);
