"""`make audit`: what is known against the locked versions, asked of PyPI and, where PyPI does not answer, of OSV.

Exits with 0 only where every locked package was looked up and none has a known vulnerability, with 1 where one has, and
with 2 where any could not be looked up. pip-audit alone counts a package that its service does not know as a success.
"""

import subprocess
import sys

import msgspec

from supply.lock import BUILD, LOCKED, TORCH

SERVICES = ("pypi", "osv")
VULNERABLE, UNKNOWN = 1, 2


class Vulnerability(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an advisory database."""

    id: str
    fix_versions: list[str]
    aliases: list[str] = []
    description: str = ""


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """What a service said of a package; `skip_reason` where it said nothing."""

    name: str
    version: str | None = None
    vulns: list[Vulnerability] = []
    skip_reason: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """pip-audit's own report."""

    dependencies: list[Audited]


def main(arguments: list[str]) -> int:
    """Ask, print, and return the exit status. Arguments go to pip-audit (`--ignore-vuln ID`)."""
    for service in SERVICES:
        report = _asked(service, arguments)
        if report is not None and any(one.skip_reason is None for one in report.dependencies):
            return verdict(service, report)
    sys.stderr.write(
        f"NOTHING WAS AUDITED: none of the vulnerability services ({', '.join(SERVICES)}) can be reached from here.\n"
    )
    return UNKNOWN


def verdict(service: str, report: Report) -> int:
    """Print what was found, and return the exit status for it."""
    for package in report.dependencies:
        for found in package.vulns:
            fixed = ", ".join(found.fix_versions) or "no version"
            names = ", ".join([found.id, *found.aliases])
            print(f"{package.name} {package.version}: {names}; fixed in {fixed}. {found.description}"[:500])
    skipped = [one for one in report.dependencies if one.skip_reason is not None]
    for package in skipped:
        print(f"{package.name}: not looked up. {package.skip_reason}")
    vulnerable = sum(bool(one.vulns) for one in report.dependencies)
    looked_up = len(report.dependencies) - len(skipped)
    print(f"{service}: {looked_up} packages looked up, {vulnerable} vulnerable, {len(skipped)} not looked up")
    if vulnerable:
        return VULNERABLE
    return UNKNOWN if skipped else 0


def _asked(service: str, arguments: list[str]) -> Report | None:
    """pip-audit's report, which exits with 1 where it found something; None where the service gave no answer."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json"]
    command += ["--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    command += [f"--requirement={file}" for file in (BUILD, LOCKED, TORCH)]
    result = subprocess.run([*command, *arguments], capture_output=True, check=False)
    try:
        return msgspec.json.decode(result.stdout, type=Report)
    except msgspec.DecodeError:
        reason = result.stderr.decode(errors="replace").strip().splitlines()
        sys.stderr.write(f"{service}: no answer. {reason[-1] if reason else f'exit status {result.returncode}'}\n")
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
