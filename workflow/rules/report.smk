rule report:
    input:
        plan.last_selection,
        plan.promoted,
        plan.evaluators.of_survivors,
    output:
        # `snakemake --report` shows it, with the rules and what they took.
        report(
            f"{SEARCH}/report/index.html",
            caption="../report/search.rst",
            category="Search",
            labels={"what": "report"},
        ),
    log:
        f"{SEARCH}/work/logs/report.log",
    retries: 0
    localrule: True
    params:
        command=HARMONY,
        search=SEARCH,
    shell:
        "{params.command} report --search {params.search} > {log} 2>&1"
