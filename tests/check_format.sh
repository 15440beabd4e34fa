#!/bin/sh
# All C and C++ sources of the tree are formatted as .clang-format says (100 columns).
# To mend what it finds: git ls-files '*.cc' '*.h' '*.c' | xargs clang-format -i
#
# usage: check_format.sh SOURCE_ROOT
set -eu
cd "$1"
command -v clang-format >/dev/null || { echo "check_format: no clang-format (tools/install-packages --tests)" >&2; exit 77; }
sources=$(git ls-files '*.cc' '*.h' '*.c')
[ -n "$sources" ] || { echo "check_format: no sources in $1" >&2; exit 2; }
# shellcheck disable=SC2086  # no path has a space in it
clang-format --dry-run --Werror $sources 2>&1 | grep -E 'error:' && exit 1
exit 0
