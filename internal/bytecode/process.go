package bytecode

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

//go:embed program.py
var program string

// Status of a response.
const (
	statusCode    = 0
	statusInvalid = 1
	statusError   = 2

	headerSize = 16       // of a .pyc file: magic number, flags, hash of the source
	maxAnswer  = 1 << 30  // in bytes
	maxSaid    = 64 << 10 // of what an interpreter prints to standard error
)

// Pipe is an interpreter that runs the program of [Arguments], wherever it does.
type Pipe struct {
	In  io.WriteCloser
	Out io.Reader
	// Wait waits for the interpreter's end, and Kill brings it about.
	Wait func() error
	Kill func()
	// Said is the end of what it printed to standard error. Default: nothing is known of it.
	Said func() string
}

// Arguments are those of the interpreter that compiles, without its own name: no source is run, no site-packages are
// read and no byte code is written. Python's -I would be shorter, but leaves out PYTHONHASHSEED.
func Arguments() []string { return []string{"-S", "-s", "-B", "-W", "ignore", "-c", program} }

// Environment is all that an interpreter with the given home may have in its environment. home: see [Python].
func Environment(home string) []string {
	env := []string{"PYTHONHASHSEED=0", "LC_ALL=C.UTF-8"}
	if home != "" {
		env = append(env, "PYTHONHOME="+home)
	}
	return env
}

// process is an interpreter that runs the program.
type process struct {
	minor int
	magic uint32

	in   io.WriteCloser
	out  *bufio.Reader
	said func() string
	kill func()
	end  func() error
}

func newProcess(p Pipe) *process {
	s := &process{in: p.In, out: bufio.NewReaderSize(p.Out, 64<<10), said: p.Said, kill: p.Kill,
		end: sync.OnceValue(p.Wait)}
	if s.said == nil {
		s.said = func() string { return "" }
	}
	return s
}

// here starts an interpreter on this machine.
func (p Python) here(ctx context.Context) (Pipe, error) {
	ctx, kill := context.WithCancel(ctx)
	said := &tail{}
	cmd := exec.CommandContext(ctx, p.Path, Arguments()...)
	cmd.Env = Environment(p.Home)
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = os.TempDir(), said, time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		kill()
		return Pipe{}, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		kill()
		return Pipe{}, err
	}
	return Pipe{In: in, Out: out, Wait: cmd.Wait, Kill: kill, Said: said.String}, nil
}

// wait ends the process.
func (s *process) wait() {
	s.kill()
	_ = s.end() // it was killed
}

// hello is the first message.
func (s *process) hello() (string, error) {
	status, data, err := s.answer()
	if err != nil || status != statusCode {
		return "", s.broken(err)
	}
	return string(data), nil
}

// compile gives a .pyc file; nil: the source is not valid.
func (s *process) compile(ctx context.Context, path string, source []byte) ([]byte, error) {
	defer context.AfterFunc(ctx, s.kill)()
	for _, part := range [][]byte{[]byte(path), source} {
		if _, err := s.in.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(part)))); err != nil {
			return nil, s.broken(err)
		}
		if _, err := s.in.Write(part); err != nil {
			return nil, s.broken(err)
		}
	}
	status, data, err := s.answer()
	switch {
	case err != nil:
		return nil, s.broken(err)
	case status == statusInvalid:
		return nil, nil
	case status == statusError:
		return nil, errors.New(string(data))
	case status != statusCode || len(data) < headerSize || binary.LittleEndian.Uint32(data) != s.magic ||
		binary.LittleEndian.Uint32(data[4:]) != 1:
		return nil, s.broken(fmt.Errorf("its answer is none that is known: %d, %.40q", status, data))
	}
	code, err := stable(data[headerSize:], s.minor)
	if err != nil {
		return nil, err
	}
	return append(data[:headerSize:headerSize], code...), nil
}

// answer reads a response.
func (s *process) answer() (status byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(s.out, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[1:]))
	if n > maxAnswer {
		return 0, nil, fmt.Errorf("its answer has %d bytes", n)
	}
	var out bytes.Buffer
	_, err = io.CopyN(&out, s.out, n)
	return head[0], out.Bytes(), err
}

// broken ends a process that gave no answer or a wrong one, and says how it ended.
func (s *process) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) ||
		strings.Contains(fmt.Sprint(err), "broken pipe") {
		if why := s.end(); why != nil { // it ended by itself
			err = why
		}
	}
	s.wait()
	if text := s.said(); text != "" {
		return fmt.Errorf("python ended or gave no answer: %w: %s", err, text)
	}
	return fmt.Errorf("python ended or gave no answer: %w", err)
}

// tail keeps the last lines that an interpreter prints.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	t.data = t.data[max(0, len(t.data)-maxSaid):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.data))
}
