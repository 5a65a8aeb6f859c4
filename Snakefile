# The front door reads the configuration, includes the rules and names the targets.
import shlex
import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from harmony_core.resources import shipped
from harmony_core.workflow import Plan

min_version("9.0")

if not config:

    configfile: str(shipped("config/nano.yaml"))


plan = Plan.read(config, workflow.configfiles)
if workflow.is_main_process:
    plan.refuse_if_running()
    plan.say_missing()
HARMONY = f"{shlex.quote(sys.executable)} -m harmony_core run"
SEARCH = plan.folder
# None where jobs go to other machines: there the profile says how many cores each gets.
CORES = workflow.resource_settings.cores


wildcard_constraints:
    generation=r"\d+",
    shard=r"\d+",


include: "workflow/rules/data.smk"
include: "workflow/rules/evolve.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/promote.smk"
include: "workflow/rules/report.smk"


# Generations are listed in ascending order, so that Snakemake walks from the first, not recursively from the last.
rule all:
    default_target: True
    input:
        expand(
            f"{SEARCH}/generation={{generation}}/selection.parquet",
            generation=plan.generations,
        ),
        plan.promoted,
        plan.evaluators.of_survivors,
        f"{SEARCH}/report/index.html",


onstart:
    plan.start()


onsuccess:
    plan.end()


onerror:
    plan.end()
