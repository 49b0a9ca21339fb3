package docker

import (
	"net/http"
	"time"

	"github.com/moby/moby/client"
)

// Sign is what each answer of an Engine says about the Engine and its host, whatever the question was.
type Sign struct {
	Engine string        // product and version: Docker/20.10.24 (linux); empty: the answers do not say
	Skew   time.Duration // the host's clock minus ours, to a second or two
}

// Sign returns what the Engine's last answer says beside its content. Dial got the first answer. Sign costs nothing;
// Info makes some Engines run programs.
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
