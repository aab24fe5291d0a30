"""`python -m benchmarks.upload_sink`: the bare server beside which uploads are measured."""

from benchmarks.uploads import serve_sink

if __name__ == "__main__":
    serve_sink()
