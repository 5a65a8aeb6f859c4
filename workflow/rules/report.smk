rule report:
    input:
        plan.last_selection,
        plan.promoted,
        plan.evaluators.of_survivors,
    output:
        f"{SEARCH}/report/index.html",
    log:
        f"{SEARCH}/work/logs/report.log",
    retries: 0
    localrule: True
    params:
        command=HARMONY,
        search=SEARCH,
    shell:
        "{params.command} report --search {params.search} > {log} 2>&1"
