package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// event is one line from a starting engine to the process that started it.
type event struct {
	Note  string `json:"note,omitempty"`
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
	// Kind, Detail and Fix are those of an *Error.
	Kind   string `json:"kind,omitempty"`
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// reporter writes events; it writes nothing when nobody listens.
type reporter struct{ w *os.File }

// newReporter takes over fd; a pipe must not stay open in a runc or a step.
func newReporter(fd int) *reporter {
	if fd <= 2 {
		return &reporter{}
	}
	unix.CloseOnExec(fd)
	return &reporter{w: os.NewFile(uintptr(fd), "ready")}
}

func (r *reporter) send(e event) {
	if r.w == nil {
		return
	}
	// Nobody may be listening any more (^C): the engine runs on.
	_ = json.NewEncoder(r.w).Encode(e)
}

func (r *reporter) note(s string) { r.send(event{Note: s}) }
func (r *reporter) ready()        { r.send(event{Ready: true}); r.close() }

func (r *reporter) fail(err error) {
	e := event{Error: err.Error()}
	if t, ok := errors.AsType[*Error](err); ok {
		e.Kind, e.Detail, e.Fix = t.Kind.Error(), t.Detail, t.Fix
	}
	r.send(e)
	r.close()
}

func (r *reporter) close() {
	if r.w != nil {
		r.w.Close()
		r.w = nil
	}
}

// listen reads events until the engine is ready or says why it cannot be.
// It returns io.ErrUnexpectedEOF when the engine ended without a word.
func listen(r io.Reader, note func(string)) error {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			continue
		}
		switch {
		case e.Note != "":
			note(e.Note)
		case e.Ready:
			return nil
		case e.Kind != "":
			return &Error{Kind: kindOf(e.Kind), Detail: e.Detail, Fix: e.Fix}
		case e.Error != "":
			return &Error{Kind: ErrStart, Detail: e.Error}
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// kindOf gives the sentinel error with this text.
func kindOf(text string) error {
	for _, k := range []error{ErrUnsupported, ErrNoRuntime, ErrNoPrivilege, ErrNoSpace, ErrInUse} {
		if k.Error() == text {
			return k
		}
	}
	return ErrStart
}
