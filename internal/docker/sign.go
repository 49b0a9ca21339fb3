package docker

import (
	"net/http"
	"time"

	"github.com/moby/moby/client"
)

// Sign is what an Engine's answers say of it and its host beside what was asked.
type Sign struct {
	Engine string        // product and version: Docker/20.10.24 (linux); empty: the answers do not tell
	Skew   time.Duration // the host's clock minus ours, to a second or two
}

// Sign is that of the Engine's last answer; there is one since Dial. It costs nothing, where Info
// makes many an Engine run programs.
func (h *Host) Sign() Sign {
	if s := h.sign.Load(); s != nil {
		return *s
	}
	return Sign{}
}

// noteSign keeps the sign of each answer.
func (h *Host) noteSign() client.Opt {
	return client.WithHTTPResponseHook(func(res *http.Response) {
		s := Sign{Engine: res.Header.Get("Server")}
		if t, err := http.ParseTime(res.Header.Get("Date")); err == nil {
			s.Skew = time.Until(t)
		}
		h.sign.Store(&s)
	})
}
