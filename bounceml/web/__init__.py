"""The page and the HTTP interface: `bounceml serve`.

app       the one wiring: routers, guards, error answers
served    the classifiers of this process, and how a new model takes their place
run       one process or several that share a port, and what happens when one ends
settings  what the one who runs it decides
api       POST /v1/classify, GET /v1/taxonomy, POST /v1/reload
events    POST /v1/events/…: webhooks of sending services (delivery), where they come from proven (signatures, sns)
answers   verdicts as JSON, counted
health    /healthz, /readyz and /metrics
metrics   what is counted, without anything that a client sent
pages     the page for people, with and without JavaScript: what is asked (asked), what is shown (view)
uploads   files that were sent, unpacked within a bound
guard     size, time, concurrency, token and headers, before a request comes to a router
"""
