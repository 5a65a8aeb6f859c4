#!/usr/bin/env bash
# Packs the active environment into build/environment.tar.gz, which jobs unpack on their nodes (stage.sh).
# Run it on a login node after every change of the environment; the project's own code is not in it.
#
#   profiles/frontier/pack.sh [ARCHIVE]        PYTHON=/path/to/python for another environment than the active one
set -euo pipefail

root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
archive=${1:-$root/build/environment.tar.gz}
python=${PYTHON:-$(command -v python || true)}
[ -n "$python" ] || { echo "pack: no python on PATH; activate the environment first" >&2; exit 2; }
prefix=$("$python" -c 'import sys; print(sys.prefix)')
mkdir -p "$(dirname "$archive")"
partial=$archive.partial
trap 'rm -f "$partial"' EXIT

if [ -d "$prefix/conda-meta" ]; then
    # Conda writes its prefix into binaries; conda-pack knows where, and conda-unpack puts the new one in.
    command -v conda-pack >/dev/null || { echo "pack: conda-pack is not installed; run: pip install conda-pack" >&2; exit 2; }
    conda-pack --prefix "$prefix" --format tar.gz --ignore-editable-packages --force --output "$partial"
elif [ -f "$prefix/pyvenv.cfg" ]; then
    # A virtual environment runs from anywhere by its python; only the scripts in bin/ name the old place.
    tar --create --gzip --exclude=__pycache__ --file "$partial" --directory "$prefix" .
else
    echo "pack: $prefix is neither a conda nor a virtual environment; activate one of them" >&2
    exit 2
fi
(cd "$root" && "$python" -m harmony_core.site.environment) > "$archive.txt"
mv "$partial" "$archive"
echo "packed $prefix into $archive ($(du -h "$archive" | cut -f1))"
