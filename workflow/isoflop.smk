# IsoFLOP sweeps: `harmony isoflop sweep.yaml`, or snakemake --snakefile workflow/isoflop.smk --configfile sweep.yaml.
import shlex
import sys

from snakemake.utils import min_version

from harmony_core.sweep_plan import SweepPlan

min_version("9.0")


plan = SweepPlan.read(config, workflow.configfiles)
if workflow.is_main_process:
    plan.refuse_if_running()
HARMONY = f"{shlex.quote(sys.executable)} -m harmony_core run"
SWEEP = plan.folder
# None where jobs go to other machines: there the profile says how many cores each gets.
CORES = workflow.resource_settings.cores


rule all:
    default_target: True
    input:
        f"{SWEEP}/runs.parquet",
        plan.rounds,


# This may need the network, so it runs on the node that Snakemake runs on; an impossible plan is refused here.
rule prepare_data:
    output:
        f"{SWEEP}/data.json",
    log:
        f"{SWEEP}/work/logs/prepare_data.log",
    retries: 0
    localrule: True
    params:
        command=HARMONY,
        sweep=SWEEP,
    shell:
        "{params.command} isoflop-data --sweep {params.sweep} > {log} 2>&1"


# The rounds follow from each other's losses, so they are one job, whose journal says what is trained.
rule isoflop:
    input:
        f"{SWEEP}/data.json",
    output:
        plan.rounds,
        f"{SWEEP}/runs.parquet",
        f"{SWEEP}/laws.json",
        f"{SWEEP}/laws.txt",
        directory(f"{SWEEP}/figures"),
    log:
        f"{SWEEP}/work/logs/isoflop.log",
    threads: plan.training_threads(CORES)
    resources:
        launcher="local",
        srun_flags="",
    params:
        command=HARMONY,
        sweep=SWEEP,
    shell:
        "{params.command} isoflop --sweep {params.sweep} --cores {threads} --launcher {resources.launcher}"
        " --srun-flags={resources.srun_flags:q} > {log} 2>&1"


onstart:
    plan.start()


onsuccess:
    plan.end()


onerror:
    plan.end()
