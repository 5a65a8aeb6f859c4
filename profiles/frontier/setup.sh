# Sourced by the batch script of every job on Frontier (submitit-setup), before anything runs.
# A failure returns 1, at which the batch script ends: half an environment gives confusing errors later.

_root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# --- Modules: what torch was built for. One a line; `harmony doctor` loads each of them to see that it exists. ---
module load PrgEnv-gnu/8.7.0 || return 1
module load cpe/26.03 || return 1
module load miniforge3/23.11.0-0 || return 1
module load rocm/7.1.1 || return 1
module load craype-accel-amd-gfx90a || return 1
module load rccl-net-plugin || return 1
# What these modules bring that is not in the loader's own path: Python's extensions look for it here.
_cray=${CRAY_LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH="$_cray${LD_LIBRARY_PATH:+${_cray:+:}$LD_LIBRARY_PATH}"

# --- Slingshot: RCCL over libfabric. What a module has set is left as it is. ---
export NCCL_NET="${NCCL_NET:-OFI}"
export NCCL_CROSS_NIC="${NCCL_CROSS_NIC:-1}"
export NCCL_NET_GDR_LEVEL="${NCCL_NET_GDR_LEVEL:-PHB}"
export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-hsn0,hsn1,hsn2,hsn3}"
export FI_MR_CACHE_MONITOR="${FI_MR_CACHE_MONITOR:-kdreg2}"
export FI_CXI_DEFAULT_CQ_SIZE="${FI_CXI_DEFAULT_CQ_SIZE:-131072}"
export FI_CXI_DEFAULT_TX_SIZE="${FI_CXI_DEFAULT_TX_SIZE:-2048}"
export FI_CXI_RDZV_PROTO="${FI_CXI_RDZV_PROTO:-alt_read}"

# --- Caches on each node, a job's own: MIOpen's database is SQLite, which a shared file system can only lock badly. ---
export MIOPEN_USER_DB_PATH="/tmp/miopen-$USER-$SLURM_JOB_ID"
export MIOPEN_CUSTOM_CACHE_DIR="$MIOPEN_USER_DB_PATH"
export TORCH_EXTENSIONS_DIR="/tmp/torch-extensions-$USER-$SLURM_JOB_ID"
# Triton's default lies in the home folder, which is read-only here.
export TRITON_CACHE_DIR="/tmp/triton-$USER-$SLURM_JOB_ID"
# The cores of a rank: 56 of a node by 8 GCDs.
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-7}"

# --- The environment on every node's NVMe: thousands of ranks that import torch from Lustre take minutes to start. ---
# HARMONY_NODE_FOLDER is what each node has for itself; HARMONY_ARCHIVE is what profiles/frontier/pack.sh wrote.
_node=${HARMONY_NODE_FOLDER:-/mnt/bb/$USER}
_archive=${HARMONY_ARCHIVE:-$_root/build/environment.tar.gz}
if [ -f "$_archive" ]; then
    source "$_root/profiles/frontier/stage.sh" || return 1
    _stage "$_root" "$_archive" "$_node" || return 1
    export HARMONY_PYTHON="$_node/environment/bin/python"
    # Otherwise the folder that a rank starts in comes before the environment, and it imports from Lustre after all.
    export PYTHONSAFEPATH=1
else
    echo "setup: no $_archive, so ranks start from the shared file system; run profiles/frontier/pack.sh" >&2
fi
