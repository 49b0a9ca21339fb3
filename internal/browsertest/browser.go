// Package browsertest opens a page in Debian's Chromium, for tests: does it fit, can it be read, what does it say.
package browsertest

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// Start gives Chromium with a profile of its own, which ends with the test. Where there is none the test is skipped.
func Start(t *testing.T) context.Context {
	t.Helper()
	testneeds.Programs(t, "chromium")
	allocator, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()),
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(t.TempDir()), chromedp.NoFirstRun, chromedp.NoSandbox,
		chromedp.Headless, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancelTab := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // it waits for the browser's end, so that its profile can be removed
		cancelTab()
		cancel()
	})
	// The browser and each tab live as long as the context of their first call, so that one must have no time limit.
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return ctx
}

// Page is a file as the browser shows it.
type Page struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp's tab is its context
	url string

	mu       sync.Mutex
	requests []string // beside the page itself
}

// Open opens a file in a tab of its own; ctx is the browser's.
func Open(ctx context.Context, t *testing.T, file string) *Page {
	t.Helper()
	tab, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	s := &Page{t: t, ctx: tab, url: (&url.URL{Scheme: "file", Path: file}).String()}
	chromedp.ListenTarget(tab, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok && e.Request.URL != s.url {
			s.mu.Lock()
			s.requests = append(s.requests, e.Request.URL)
			s.mu.Unlock()
		}
	})
	if err := chromedp.Run(tab, network.Enable()); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return s
}

func (s *Page) do(actions ...chromedp.Action) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		s.t.Fatalf("drive the browser: %v", err)
	}
}

// reload opens the page at a width in a colour scheme, with all that can be unfolded unfolded.
func (s *Page) reload(width int64, scheme string) {
	s.t.Helper()
	s.do(
		// Not as a mobile device: those widen the window to what does not fit, and nothing would reach over its edge.
		emulation.SetDeviceMetricsOverride(width, 900, 1, false),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme",
			Value: scheme}}),
		chromedp.Navigate(s.url),
	)
}

// picture keeps a picture of the whole page where RAYBUILD_PICTURES names a directory for them.
func (s *Page) picture(name string) {
	s.t.Helper()
	dir := os.Getenv("RAYBUILD_PICTURES")
	if dir == "" {
		return
	}
	var png []byte
	s.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		png, err = cdppage.CaptureScreenshot().WithCaptureBeyondViewport(true).WithFromSurface(true).Do(ctx)
		return err
	}))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// Ask evaluates a function of JavaScript without arguments.
func Ask[T any](s *Page, script string) T {
	s.t.Helper()
	var out T
	s.do(chromedp.Evaluate("("+script+")()", &out))
	return out
}

// tooWide lists what reaches over the window's edge and is not in a box that scrolls; the first
// entry is the page itself.
const tooWide = `() => {
  const wide = document.documentElement.scrollWidth - innerWidth, out = [];
  if (wide > 0) out.push('the page by ' + wide + ' px');
  for (const e of document.querySelectorAll('main *')) {
    if (e.closest('.scroll, pre, svg, details:not([open])')) continue;
    const r = e.getBoundingClientRect();
    if (r.width && (r.right > innerWidth + 1 || r.left < -1))
      out.push(e.tagName + '.' + e.className + ' ' + (e.textContent || '').slice(0, 40));
  }
  return out;
}`

// faint lists texts whose contrast to what is behind them is less than WCAG's 4.5 to 1.
const faint = `() => {
  for (const d of document.querySelectorAll('details')) d.open = true;
  const rgb = c => (c.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = c => {
    const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = e => {
    const rect = e.tagName === 'text' && e.parentElement.querySelector('rect');
    if (rect) return rgb(getComputedStyle(rect).fill);
    for (let p = e; p; p = p.parentElement) {
      const c = rgb(getComputedStyle(p).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const out = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let n; n = walk.nextNode();) {
    const e = n.parentElement;
    if (!n.data.trim() || e.closest('title') || !e.getClientRects().length) continue;
    seen++;
    const style = getComputedStyle(e);
    const a = light(rgb(e.tagName === 'text' ? style.fill : style.color).slice(0, 3));
    const b = light(behind(e).slice(0, 3));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5)
      out.add(ratio.toFixed(2) + ' ' + e.tagName + '.' + (e.getAttribute('class') || '') + ' ' +
        n.data.trim().slice(0, 30));
  }
  if (seen < 5) out.add('only ' + seen + ' texts on the page');
  return [...out];
}`

// unnamed lists pictures and tables that a screen reader would find nothing to say of.
const unnamed = `() => [...document.querySelectorAll('svg:not(svg svg), section, .scroll')].filter(e =>
  e.getAttribute('aria-hidden') !== 'true' && !e.getAttribute('aria-label') &&
  !document.getElementById(e.getAttribute('aria-labelledby'))
).map(e => e.outerHTML.slice(0, 80)).concat(
  [...document.querySelectorAll('table')].filter(e => !e.querySelector('th[scope=col]'))
    .map(e => e.outerHTML.slice(0, 80)))`

// Fits checks what has to hold for every page, at desktop and phone width, in light and dark.
func (s *Page) Fits(name string) {
	s.t.Helper()
	paper := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			s.reload(width, scheme)
			if wide := Ask[[]string](s, tooWide); len(wide) > 0 {
				s.t.Errorf("%s page, %d px, %s: it reaches over the edge: %s", name, width, scheme,
					strings.Join(wide, "; "))
			}
			s.picture(strings.Join([]string{name, scheme,
				map[bool]string{true: "phone", false: "desktop"}[width < 500]}, "-"))
			if pale := Ask[[]string](s, faint); len(pale) > 0 {
				s.t.Errorf("%s page, %d px, %s: texts that can hardly be read (contrast below 4.5): %s", name, width,
					scheme, strings.Join(pale, "; "))
			}
			if wide := Ask[[]string](s, tooWide); len(wide) > 0 {
				s.t.Errorf("%s page, %d px, %s, unfolded: it reaches over the edge: %s", name, width, scheme,
					strings.Join(wide, "; "))
			}
		}
		paper[scheme] = Ask[string](s, "() => getComputedStyle(document.body).backgroundColor")
	}
	if paper["light"] == paper["dark"] {
		s.t.Errorf("%s page: its paper is %s in light and in dark", name, paper["light"])
	}
	if missing := Ask[[]string](s, unnamed); len(missing) > 0 {
		s.t.Errorf("%s page: without a name for screen readers: %s", name, strings.Join(missing, "; "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) > 0 {
		s.t.Errorf("%s page: it asks for something from elsewhere: %s", name, strings.Join(s.requests, ", "))
	}
}
