package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Job describes a program that runs on a cluster.
type Job struct {
	Argv    []string          // the program, as `python train.py --epochs 3`
	Dir     string            // local directory that it needs; empty: none
	Env     map[string]string // of the program
	ID      string            // submission ID; empty: Ray makes one
	Detach  bool              // return once it is accepted
	CPUs    float64           // that the program itself occupies; 0: none
	GPUs    float64           // the same
	Memory  int64             // the same, in bytes
	Exclude []string          // patterns as in .gitignore of what stays here, beside what ignore files name

	Resources  map[string]float64 // custom ones that the program itself occupies
	Metadata   map[string]string  // that Ray shows with the job
	RuntimeEnv map[string]any     // Ray's; what Env and Dir say goes into it

	NoGitignore bool // .gitignore files in Dir say nothing about what is sent; .rayignore files do
}

// JobResult says how a job ended.
type JobResult struct {
	ID string `json:"id"`
	// Ray's: PENDING RUNNING STOPPED SUCCEEDED FAILED; or LOST, with the head that ran it
	Status   string  `json:"status"`
	Message  string  `json:"message,omitempty"`
	ExitCode int     `json:"exit_code"`
	Seconds  float64 `json:"seconds"`
	By       string  `json:"by"` // jobs-api, or exec where the Ray version has no jobs API
}

const statusLost = "LOST"

// UnfollowedJobError is a job that Ray took and that goes on, while its output is not shown any more.
type UnfollowedJobError struct {
	ID  string // of the job
	Err error  // why
}

func (e *UnfollowedJobError) Error() string {
	return fmt.Sprintf("follow job %s: %v: the job goes on; %s", e.ID, e.Err, e.Next())
}

// Unwrap returns the cause.
func (e *UnfollowedJobError) Unwrap() error { return e.Err }

// Next says how to see the job's output, and how to stop the job.
func (e *UnfollowedJobError) Next() string {
	return fmt.Sprintf("see it with: raybuild cluster job logs --follow %[1]s; stop it with: raybuild "+
		"cluster job stop %[1]s", e.ID)
}

var jobIDForm = newGrammar(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

// maxUpload is what Ray's dashboard takes as one package, packed (ray python/ray/dashboard, client_max_size).
const maxUpload = 100 << 20

// Submit runs a job on a cluster, copies its output to stdout as it comes, and returns how it ended. Ray 1.9 and later
// run the job by their jobs API. With an older Ray the program runs in the head's container.
func Submit(ctx context.Context, spec *Spec, j Job, stdout, stderr io.Writer, o Options) (*JobResult, error) {
	if len(j.Argv) == 0 {
		return nil, errors.New("submit a job: no program is named; raybuild cluster submit [DIR] -- python train.py")
	}
	if j.ID != "" && !jobIDForm.MatchString(j.ID) {
		return nil, fmt.Errorf("submit job %q: its ID may hold letters, digits, _ . and -", j.ID)
	}
	j, err := j.withRuntimeEnv()
	if err != nil {
		return nil, err
	}
	l := newLaunch(spec, o)
	defer l.close()
	r, err := l.askHead(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var res *JobResult
	if r.features.JobsAPI {
		res, err = r.submit(ctx, j, l.logf)
		if err == nil && !j.Detach {
			f := l.follower(r, res, stdout)
			defer f.close()
			err = f.run(ctx)
		}
	} else {
		res, err = r.runInHead(ctx, j, stdout, stderr)
	}
	if res != nil {
		res.Seconds = time.Since(l.start).Seconds()
	}
	if err != nil {
		return res, fmt.Errorf("submit a job to cluster %q: %w", spec.Name, err)
	}
	return res, nil
}

// logFunc writes one line to the launcher's log.
type logFunc func(format string, a ...any)

// submit goes by POST /api/jobs/ (ray python/ray/dashboard/modules/job/common.py).
func (r *ray) submit(ctx context.Context, j Job, logf logFunc) (*JobResult, error) {
	uri := ""
	if j.Dir != "" {
		var err error
		if uri, err = r.upload(ctx, j, logf); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(j.request(uri))
	if err != nil {
		return nil, err
	}
	res, err := r.do(ctx, http.MethodPost, "/api/jobs/", "application/json", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() // read to its end
	var made struct {
		SubmissionID string `json:"submission_id"`
		JobID        string `json:"job_id"` // its name before 2.0
	}
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil {
		return nil, fmt.Errorf("read ray's answer: %w", err)
	}
	out := &JobResult{ID: made.SubmissionID, Status: "PENDING", By: "jobs-api"}
	if out.ID == "" {
		out.ID = made.JobID
	}
	if !jobIDForm.MatchString(out.ID) {
		return nil, fmt.Errorf("ray names the job %q, which is no ID", out.ID)
	}
	logf("job %s submitted", out.ID)
	return out, nil
}

// errLost is how a job ends whose head ends: its program ran there, and a new head knows nothing of it.
var errLost = errors.New("the job was lost, because the head was started again and does not know it; look why: " +
	"raybuild cluster status; then submit it again")

// started says when the head's container was; zero: it is not known.
func (r *ray) started(ctx context.Context) time.Time {
	d, err := r.host.Inspect(ctx, r.container)
	if err != nil {
		return time.Time{}
	}
	return d.Started
}

// lost says whether a job is gone for good by what came of asking for it. since is when the head
// was started that took it.
func (r *ray) lost(ctx context.Context, since time.Time, asked error) bool {
	var answer *statusError
	if errors.As(asked, &answer) && answer.code == http.StatusNotFound {
		return true // Ray took it, and does not know it any more
	}
	d, err := r.host.Inspect(ctx, r.container)
	return docker.IsNotFound(err) || err == nil && !since.IsZero() && d.Started.After(since)
}

// codeIn finds the exit code in a message of Ray before driver_exit_code: "Job entrypoint command
// failed with exit code 3, last …".
func codeIn(message string) (int, bool) {
	_, rest, ok := strings.Cut(message, "exit code ")
	if !ok {
		return 0, false
	}
	var code int
	if _, err := fmt.Sscanf(rest, "%d", &code); err != nil || code == 0 {
		return 0, false
	}
	return code, true
}

// shellLine is argv as Ray's entrypoint, a string that Ray's job supervisor gives to sh. Every
// argument is quoted, so that it arrives as it was given here.
func shellLine(argv []string) string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		if a != "" &&
			strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-") == "" {
			out[i] = a
		}
	}
	return strings.Join(out, " ")
}
