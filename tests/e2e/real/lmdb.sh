#!/bin/bash
# The LMDB program, and the content as mdb_dump or any later process sees it: run alone or recorded by
# equality.py. usage: lmdb.sh PROGRAM (in an empty directory)
set -euo pipefail
mkdir database
"$1" database
# The files hold process and thread ids; the content has been printed.
rm -r database
