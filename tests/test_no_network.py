"""Neither an import nor a fit asks the network for anything."""

import subprocess
import sys
import textwrap

PROGRAM = textwrap.dedent("""
    import sys

    asked = []
    names = ("socket.connect", "socket.getaddrinfo", "socket.sendto")
    sys.addaudithook(lambda event, arguments: asked.append(event) if event in names else None)

    import numpy as np
    from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, open_rows
    from kmeans_xp.metrics import silhouette_score

    X = np.random.default_rng(0).normal(size=(300, 4))
    for make in (KMeans, MiniBatchKMeans, BisectingKMeans):
        labels = make(3, random_state=0).fit(X).predict(X)
    KMeans(3, random_state=0).fit(open_rows(X, block_rows=100))
    silhouette_score(X, labels)
    assert not asked, asked

    import socket
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1.0).close()
    except OSError:
        pass
    print(sorted(set(asked)))
""")


def test_no_network_is_used_by_an_import_or_a_fit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "socket.connect" in done.stdout  # what is asked would have been seen
