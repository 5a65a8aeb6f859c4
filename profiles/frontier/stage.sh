# Puts the packed environment, and this project's own code as it is now, on every node of the allocation.

# In a clone resources lie beside the packages; the executor plugin holds rules that harmony_core reads too.
_CODE=(harmony_core snakemake_executor_plugin_submitit resources)

# _stage PROJECT ARCHIVE FOLDER: afterwards FOLDER/environment/bin/python is there on each node.
_stage() {
    local project=$1 archive=$2 folder=$3 code status
    # Outside of a clone the code is a package like others, which the archive has.
    [ -d "$project/harmony_core" ] || _CODE=()
    # In one it is small and changes often: it travels by itself, and the archive is made again only for new packages.
    code=$(mktemp "${TMPDIR:-/tmp}/harmony-code.XXXXXX") || return 1
    tar --create --gzip --exclude=__pycache__ --file "$code" --directory "$project" --files-from /dev/null \
        "${_CODE[@]}" || return 1
    _each_node mkdir -p "$folder" "$MIOPEN_USER_DB_PATH" "$TORCH_EXTENSIONS_DIR" "$TRITON_CACHE_DIR" &&
        sbcast --force "$archive" "$folder/environment.tar.gz" &&
        sbcast --force "$code" "$folder/code.tar.gz" &&
        _each_node bash -euo pipefail -c "$_UNPACK" unpack "$folder" "${_CODE[@]}"
    status=$?
    rm -f "$code"
    [ "$status" = 0 ] || echo "setup: the environment did not get to the nodes (exit code $status)" >&2
    return "$status"
}

# One task on each node, with all of the node's cores.
_each_node() {
    srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 "$@"
}

# A job that Slurm started again may find a part of what its first life unpacked: begin anew.
_UNPACK='
cd "$1"
rm -rf environment
mkdir environment
# Most of the time goes to making some ten thousands of files, so that several tars make them at once, each its part of
# the list. A hard link may come before what it links to: then all is unpacked once more, in order.
gunzip --keep --stdout environment.tar.gz > environment.tar
tar --list --file environment.tar > members
split --number=r/8 members members.
parts=()
for list in members.*; do
    tar --extract --file environment.tar --directory environment --no-recursion --files-from="$list" 2>/dev/null &
    parts+=($!)
done
whole=yes
for part in "${parts[@]}"; do wait "$part" || whole=no; done
[ "$whole" = yes ] || tar --extract --file environment.tar --directory environment
if [ -x environment/bin/conda-unpack ]; then environment/bin/python environment/bin/conda-unpack; fi
packages=$(environment/bin/python -c "import sysconfig; print(sysconfig.get_paths()[\"purelib\"])")
(cd "$packages" && rm -rf "${@:2}")
tar --extract --file code.tar.gz --directory "$packages"
rm -f environment.tar.gz environment.tar code.tar.gz members members.*
'
