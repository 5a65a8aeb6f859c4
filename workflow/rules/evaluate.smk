# Each further evaluator that the configuration names has a rule of its own, so that a profile can say what it needs.
for evaluator in plan.evaluators.further:
    needed, made = plan.evaluators.files(evaluator)

    rule:
        name:
            f"evaluate_{evaluator.name}"
        input:
            needed,
        output:
            made,
        log:
            f"{SEARCH}/work/logs/{evaluator.name}/generation={{generation}}/shard={{shard}}.log",
        localrule: not evaluator.needs_workers(plan.config)
        threads: plan.all_cores(CORES) if evaluator.exclusive else plan.training_threads(CORES)
        resources:
            launcher="local",
            srun_flags="",
        params:
            command=HARMONY,
            evaluator=evaluator.name,
            search=SEARCH,
            generation=lambda wildcards: int(wildcards.generation),
            shard=lambda wildcards: int(wildcards.shard),
        shell:
            "{params.command} evaluate --evaluator {params.evaluator} --search {params.search}"
            " --generation {params.generation} --shard {params.shard} --cores {threads}"
            " --launcher {resources.launcher} --srun-flags={resources.srun_flags:q} > {log} 2>&1"
