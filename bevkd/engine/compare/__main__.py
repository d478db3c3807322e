"""``python -m bevkd.engine.compare FOLDER`` does, or goes on with, the job that ``FOLDER/job.json`` describes."""

import sys

from bevkd.engine.compare.job import run_job
from bevkd.errors import run_tool

run_tool(lambda: run_job(sys.argv[1]) and 0)
