"""Jobs of the head: drivers in processes of their own (python/ray/dashboard/modules/job). Ray runs them under the agent of the
head's node; the stand-in under the head itself."""

import json
import os
import secrets
import signal
import subprocess
import threading
import time

from ray import exceptions
from ray._standin import raylet

TERMINAL = ("STOPPED", "SUCCEEDED", "FAILED")
TAIL = 20000  # characters of the log in a failed job's message


class Jobs:
    def __init__(self, session, address, node_id, packages):
        self.session, self.address, self.node_id, self.packages = session, address, node_id, packages
        self.jobs = {}  # by submission id, in the order of submission
        self.lock = threading.Lock()

    def submit(self, body):
        """The submission id; ValueError says what is wrong with the request."""
        entrypoint = body.get("entrypoint")
        if not isinstance(entrypoint, str) or not entrypoint:
            raise ValueError("entrypoint must be a string")
        env = body.get("runtime_env") or {}
        metadata = body.get("metadata") or {}
        if not isinstance(env, dict) or not isinstance(metadata, dict):
            raise ValueError("runtime_env and metadata must be mappings")
        name = body.get("submission_id") or body.get("job_id") or "raysubmit_" + secrets.token_urlsafe(12).replace("-", "x").replace("_", "y")
        job = {"type": "SUBMISSION", "job_id": None, "submission_id": name, "driver_info": None, "status": "PENDING", "entrypoint": entrypoint,
               "message": "Job has not started yet.", "error_type": None, "start_time": int(time.time() * 1000), "end_time": None,
               "metadata": metadata, "runtime_env": env, "driver_agent_http_address": None, "driver_node_id": None, "driver_exit_code": None}
        with self.lock:
            if name in self.jobs:
                raise ValueError("Job with submission_id %s already exists. Please use a different submission_id." % name)
            self.jobs[name] = job
        job["log"] = os.path.join(self.session, "logs", "job-driver-%s.log" % secrets.token_hex(8))
        open(job["log"], "w").close()
        threading.Thread(target=self.drive, args=(job,), daemon=True).start()
        return name

    def drive(self, job):
        try:
            with self.lock:
                if job["status"] != "PENDING":
                    return  # stopped before it started
                process = self.launch(job)
                job.update(status="RUNNING", message="Job is currently running.", process=process, driver_node_id=self.node_id())
            code = process.wait()
        except (OSError, exceptions.RayError, ValueError) as e:
            with self.lock:
                job.update(status="FAILED", message="Failed to start: %s" % e, end_time=int(time.time() * 1000))
            return
        with self.lock:
            job["end_time"] = int(time.time() * 1000)
            if job["status"] == "STOPPED":
                return
            job["driver_exit_code"] = code
            if code == 0:
                job.update(status="SUCCEEDED", message="Job finished successfully.")
            else:
                job.update(status="FAILED", message="Job entrypoint command failed with exit code %d, last available logs (truncated to 20,000 chars):\n%s"
                           % (code, self.read(job)[-TAIL:]))

    def launch(self, job):
        env = dict(os.environ, RAY_ADDRESS=self.address, RAY_JOB_CONFIG_JSON_ENV_VAR=json.dumps({"runtime_env": job["runtime_env"], "metadata": job["metadata"]}))
        env["PYTHONUNBUFFERED"] = "1"
        env.update({str(k): str(v) for k, v in (job["runtime_env"].get("env_vars") or {}).items()})
        uri = job["runtime_env"].get("working_dir") or ""
        if uri and not uri.startswith("gcs://"):
            raise ValueError("working_dir %s: only uploaded packages (gcs://) are known" % uri)
        cwd = raylet.unpack_package(uri, self.session, self.packages.get) if uri else self.session
        env["PYTHONPATH"] = os.pathsep.join(p for p in (cwd if uri else "", env.get("PYTHONPATH", "")) if p)
        with open(job["log"], "ab") as log:
            # The job supervisor runs the entrypoint in a shell, in a process group of its own.
            return subprocess.Popen(job["entrypoint"], shell=True, executable="/bin/bash" if os.path.exists("/bin/bash") else None, cwd=cwd, env=env,
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def stop(self, job):
        """Whether the job was running. Its processes get SIGTERM, and SIGKILL after RAY_JOB_STOP_WAIT_TIME_S (3)."""
        with self.lock:
            if job["status"] in TERMINAL:
                return False
            job.update(status="STOPPED", message="Job was intentionally stopped.")
            process = job.get("process")
        if process is not None:
            threading.Thread(target=self.end, args=(process,), daemon=True).start()
        return True

    @staticmethod
    def end(process):
        for number, patience in ((signal.SIGTERM, float(os.environ.get("RAY_JOB_STOP_WAIT_TIME_S", "3"))), (signal.SIGKILL, None)):
            try:
                os.killpg(process.pid, number)
                process.wait(patience)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def delete(self, job):
        with self.lock:
            if job["status"] not in TERMINAL:
                return False
            self.jobs.pop(job["submission_id"], None)
        return True

    @staticmethod
    def read(job):
        with open(job["log"], errors="replace") as f:
            return f.read()

    @staticmethod
    def shown(job):
        return {k: v for k, v in job.items() if k not in ("log", "process")}
