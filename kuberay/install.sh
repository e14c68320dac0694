#!/bin/sh
# Installs Hearth in an image: install.sh --extra EXTRA … (options of `uv sync`). The folder UV_PROJECT_ENVIRONMENT is made.
# Leaves out what no pod uses, as unused-packages.txt and unused-files.txt say, and the names of inner functions in
# compiled code, which only a debugger reads.
set -eu
here=$(dirname "$0")

entries() {
    grep --invert-match --extended-regexp '^(#|$)' "$here/$1"
}

# First into a variable: a command that fails in the list of a loop ends nothing.
unused=$(entries unused-packages.txt)
for package in $unused; do
    set -- "$@" --no-install-package "$package"
done
uv sync --frozen --no-default-groups --no-editable "$@"

packages=$("$UV_PROJECT_ENVIRONMENT/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
patterns=$(entries unused-files.txt)
cd "$packages"
# Not quoted, so that the shell finds what a pattern matches. One without a match is taken as a name, and rm fails.
for path in $patterns; do
    rm -r "$path"
done
# Not what the makers of wheels changed in a way that strip does not understand (NAME.libs), nor what drives accelerators.
find . \( -path '*.libs' -o -path './nvidia*' -o -path './onnxruntime*' \) -prune \
    -o -type f \( -name '*.so' -o -name raylet -o -name gcs_server \) -exec strip --strip-unneeded {} +
