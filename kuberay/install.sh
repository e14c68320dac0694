#!/bin/sh
# Installs Hearth in an image: install.sh --extra EXTRA … (options of `uv sync`). The folder UV_PROJECT_ENVIRONMENT is made.
# Leaves out what no pod uses, as unused-packages.txt and unused-files.txt say, and the names of inner functions in
# compiled code, which only a debugger reads.
set -eu
here=$(dirname "$0")

entries() {
    grep --invert-match --extended-regexp '^(#|$)' "$here/$1"
}

for package in $(entries unused-packages.txt); do
    set -- "$@" --no-install-package "$package"
done
uv sync --frozen --no-default-groups --no-editable "$@"

packages=$("$UV_PROJECT_ENVIRONMENT/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
cd "$packages"
# Not quoted, so that the shell finds what a pattern matches; a pattern without a match goes to rm, which fails.
for pattern in $(cd - >/dev/null && entries unused-files.txt); do
    rm -r $pattern
done
# Files below NAME.libs were changed by the makers of wheels, in a way that strip does not understand.
find . -path '*.libs' -prune -o -path './nvidia' -prune \
    -o -type f \( -name '*.so' -o -name raylet -o -name gcs_server \) -exec strip --strip-unneeded {} +
