package cluster

import (
	"context"
	"net/url"
)

// jobPath is where Ray tells of a job.
func jobPath(id string) string { return "/api/jobs/" + url.PathEscape(id) }

// jobInfo is a job as Ray tells of it (ray python/ray/dashboard/modules/job/pydantic_models.py).
type jobInfo struct {
	Status  string
	Message string
	Code    *int `json:"driver_exit_code"`
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
