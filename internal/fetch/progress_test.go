package fetch

import (
	"sync"
	"testing"
)

func TestProgress(t *testing.T) {
	data := noise(70, 1<<20)
	var mu sync.Mutex
	var seen []Progress
	o := fast(t)
	o.OnProgress = func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, p)
	}
	r := newRig(t, o, newMirror(t, data, nil))
	d := r.want(data)
	r.mustRead(t, d)
	last := seen[len(seen)-1]
	if last.Digest != d || last.Mirror != "m1" || last.Bytes != 1<<20 || last.Total != 1<<20 || len(seen) < 3 {
		t.Errorf("%d reports, the last %+v", len(seen), last)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i].Bytes < seen[i-1].Bytes {
			t.Errorf("progress went back: %+v", seen[i])
		}
	}
}
