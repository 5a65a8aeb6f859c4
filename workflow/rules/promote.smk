rule promote:
    input:
        plan.last_selection,
    # Snakemake does not delete these before the rule runs: who was promoted before keeps number and rows.
    output:
        plan.grown,
        population=update(f"{SEARCH}/promoted/population.parquet"),
        evaluated=update(plan.evaluators.promoted),
    log:
        f"{SEARCH}/work/logs/promote.log",
    threads: plan.all_cores(CORES)
    resources:
        launcher="local",
        srun_flags="",
    params:
        command=HARMONY,
        search=SEARCH,
    shell:
        "{params.command} promote --search {params.search} --cores {threads}"
        " --launcher {resources.launcher} --srun-flags={resources.srun_flags:q} > {log} 2>&1"
