rule mutate:
    input:
        manifest=f"{SEARCH}/manifest.json",
        ancestors=plan.ancestors,
    output:
        population=f"{SEARCH}/generation={{generation}}/population.parquet",
        ledger=f"{SEARCH}/generation={{generation}}/ledger.parquet",
    log:
        f"{SEARCH}/work/logs/mutate/generation={{generation}}.log",
    retries: 0
    localrule: True
    params:
        command=HARMONY,
        search=SEARCH,
        generation=lambda wildcards: int(wildcards.generation),
    shell:
        "{params.command} mutate --search {params.search} --generation {params.generation} > {log} 2>&1"


rule train:
    input:
        f"{SEARCH}/generation={{generation}}/population.parquet",
    output:
        training=f"{SEARCH}/generation={{generation}}/training/shard={{shard}}.parquet",
        curves=f"{SEARCH}/generation={{generation}}/curves/shard={{shard}}.parquet",
    log:
        f"{SEARCH}/work/logs/train/generation={{generation}}/shard={{shard}}.log",
    threads: plan.training_threads(CORES)
    resources:
        launcher="local",
        srun_flags="",
    params:
        command=HARMONY,
        search=SEARCH,
        generation=lambda wildcards: int(wildcards.generation),
        shard=lambda wildcards: int(wildcards.shard),
    shell:
        "{params.command} train --search {params.search} --generation {params.generation}"
        " --shard {params.shard} --cores {threads} --launcher {resources.launcher}"
        " --srun-flags={resources.srun_flags:q} > {log} 2>&1"


# A latency is measured alone on its device: on one machine the rule takes every core there is.
rule benchmark_latency:
    input:
        f"{SEARCH}/generation={{generation}}/population.parquet",
    output:
        f"{SEARCH}/generation={{generation}}/latency/shard={{shard}}.parquet",
    log:
        f"{SEARCH}/work/logs/latency/generation={{generation}}/shard={{shard}}.log",
    localrule: plan.latency_is_predicted
    threads: plan.all_cores(CORES)
    resources:
        launcher="local",
        srun_flags="",
    params:
        command=HARMONY,
        search=SEARCH,
        generation=lambda wildcards: int(wildcards.generation),
        shard=lambda wildcards: int(wildcards.shard),
    shell:
        "{params.command} latency --search {params.search} --generation {params.generation}"
        " --shard {params.shard} --launcher {resources.launcher}"
        " --srun-flags={resources.srun_flags:q} > {log} 2>&1"


rule select:
    input:
        population=f"{SEARCH}/generation={{generation}}/population.parquet",
        evaluated=plan.evaluators.shards("all"),
        survivors=plan.previous_selection,
    output:
        f"{SEARCH}/generation={{generation}}/selection.parquet",
    log:
        f"{SEARCH}/work/logs/select/generation={{generation}}.log",
    retries: 0
    localrule: True
    params:
        command=HARMONY,
        search=SEARCH,
        generation=lambda wildcards: int(wildcards.generation),
    shell:
        "{params.command} select --search {params.search} --generation {params.generation} > {log} 2>&1"
