# The 50 one-second tasks: first one after the other in this process, then by Ray over the cluster. Prints one line of JSON.
import collections, json, socket, sys, time

import ray

tasks, seconds = int(sys.argv[1]), float(sys.argv[2])

def work(seconds):
    time.sleep(seconds)
    return socket.gethostname()

ray.init()

begin = time.time()
for _ in range(tasks):
    work(seconds)
alone = time.time() - begin

remote_work = ray.remote(work)

begin = time.time()
where = ray.get([remote_work.remote(seconds) for _ in range(tasks)])
spread = time.time() - begin

print("RAYBUILD" + json.dumps({"tasks": tasks, "seconds_each": seconds, "alone": alone, "spread": spread, "nodes": dict(collections.Counter(where))}))
