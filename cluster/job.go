package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// JobInfo is a job that Ray knows.
type JobInfo struct {
	ID         string            `json:"id"`
	Submitted  bool              `json:"submitted"` // by the jobs API; only such jobs have a log, and can be stopped
	Status     string            `json:"status"`    // as in JobResult
	Message    string            `json:"message,omitempty"`
	Entrypoint string            `json:"entrypoint,omitempty"`
	Started    time.Time         `json:"started,omitzero"` // by the clock of the head's host
	Ended      time.Time         `json:"ended,omitzero"`
	ExitCode   *int              `json:"exit_code,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

// Jobs lists the jobs that a cluster's Ray knows, those of programs that connected to it, too.
func Jobs(ctx context.Context, spec *Spec, o Options) ([]JobInfo, error) {
	var all []jobInfo
	err := askJobs(ctx, spec, o, func(_ *launch, r *ray) error { return r.get(ctx, "/api/jobs/", &all) })
	if err != nil {
		return nil, fmt.Errorf("list the jobs of cluster %q: %w", spec.Name, err)
	}
	out := []JobInfo{}
	for _, j := range all {
		out = append(out, j.info())
	}
	return out, nil
}

// JobLogs copies the log of a job to stdout. With follow it goes on until the job has ended. The result says how the
// job is.
func JobLogs(ctx context.Context, spec *Spec, id string, follow bool, stdout io.Writer, o Options) (*JobResult, error) {
	out := &JobResult{ID: id, By: "jobs-api"}
	err := askJobs(ctx, spec, o, func(l *launch, r *ray) error {
		job, err := r.job(ctx, id)
		if err != nil {
			return err
		}
		f := l.follower(r, out, stdout)
		defer f.close()
		if follow || job.Ended() {
			return f.run(ctx)
		}
		out.Status, out.Message, f.polls = job.Status, job.Message, true
		_, err = f.read(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("show the log of job %q: %w", id, noSuchJob(err))
	}
	return out, nil
}

// stopPatience is how long a job may take to end. Ray kills it after three seconds.
const stopPatience = 30 * time.Second

// StopJob stops a job, waits until it has ended, and returns how. A job that has ended before is no error.
func StopJob(ctx context.Context, spec *Spec, id string, o Options) (*JobResult, error) {
	out := &JobResult{ID: id, By: "jobs-api"}
	err := askJobs(ctx, spec, o, func(_ *launch, r *ray) error {
		res, err := r.do(ctx, http.MethodPost, jobPath(id)+"/stop", "", nil)
		if err != nil {
			return err
		}
		res.Body.Close() // the status counts
		for start, pause := time.Now(), pollFirst; ; pause = min(pause*3/2, pollLast) {
			job, err := r.job(ctx, id)
			if err != nil {
				return err
			}
			out.Status, out.Message, out.ExitCode = job.Status, job.Message, job.exitCode()
			switch {
			case job.Ended():
				return nil
			case time.Since(start) > stopPatience:
				return fmt.Errorf("it is still %s after %s; stop it again", textOf(job.Status), stopPatience)
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("stop job %q: %w", id, noSuchJob(err))
	}
	return out, nil
}

// askJobs calls f with a Ray that has the jobs API.
func askJobs(ctx context.Context, spec *Spec, o Options, f func(*launch, *ray) error) error {
	l := newLaunch(spec, o)
	defer l.close()
	r, err := l.askHead(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	if !r.features.JobsAPI {
		return errors.New("this version of Ray has no jobs API; Ray 1.9 and later have one")
	}
	return f(l, r)
}

// noSuchJob says what to do about an ID that Ray does not know.
func noSuchJob(err error) error {
	var answer *statusError
	if errors.As(err, &answer) && answer.code == http.StatusNotFound {
		return fmt.Errorf("ray knows no such job; see what there is: raybuild cluster job list (%w)", err)
	}
	return err
}

// jobPath is where Ray tells of a job.
func jobPath(id string) string { return "/api/jobs/" + url.PathEscape(id) }

// jobInfo is a job as Ray tells of it (ray python/ray/dashboard/modules/job/pydantic_models.py).
type jobInfo struct {
	Type         string
	SubmissionID string `json:"submission_id"`
	JobID        string `json:"job_id"`
	Status       string
	Message      string
	Entrypoint   string
	Code         *int  `json:"driver_exit_code"`
	Start        int64 `json:"start_time"` // in milliseconds
	End          int64 `json:"end_time"`
	Metadata     map[string]string
}

// info is what a user sees of it.
func (j *jobInfo) info() JobInfo {
	out := JobInfo{ID: textOf(j.SubmissionID), Submitted: j.Type != "DRIVER", Status: textOf(j.Status),
		Message: textOf(j.Message), Entrypoint: textOf(j.Entrypoint), ExitCode: j.Code}
	if out.ID == "" {
		out.ID = textOf(j.JobID)
	}
	if j.Start > 0 {
		out.Started = time.UnixMilli(j.Start).UTC()
	}
	if j.End > 0 {
		out.Ended = time.UnixMilli(j.End).UTC()
	}
	for k, v := range j.Metadata {
		if out.Metadata == nil {
			out.Metadata = map[string]string{}
		}
		out.Metadata[textOf(k)] = textOf(v)
	}
	return out
}

// Ended says whether the job's program does not run any more.
func (j *jobInfo) Ended() bool {
	return j.Status == "SUCCEEDED" || j.Status == "FAILED" || j.Status == "STOPPED"
}

// exitCode is that of the job's program, 1 if it did not end well and Ray does not tell.
func (j *jobInfo) exitCode() int {
	if j.Status != "FAILED" && j.Status != "STOPPED" {
		return 0
	}
	if j.Code != nil && *j.Code != 0 {
		return *j.Code
	}
	if code, ok := codeIn(j.Message); ok {
		return code
	}
	return 1
}

// job asks Ray for a job.
func (r *ray) job(ctx context.Context, id string) (*jobInfo, error) {
	job := &jobInfo{}
	if err := r.get(ctx, jobPath(id), job); err != nil {
		return nil, err
	}
	job.Message = textOf(job.Message)
	return job, nil
}
