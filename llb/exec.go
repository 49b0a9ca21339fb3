package llb

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	bkllb "github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

// Network is what a command can reach.
type Network int

const (
	// Offline gives each command a network namespace with only a loopback interface. It is the default.
	Offline Network = iota
	// Online is the network that the builder gives its steps. raybuild's own engine gives each one of its own.
	Online
	// HostNetwork is the network of the builder's machine. The builder must allow it, see [SolveOptions].
	HostNetwork
)

// Exec is a command that runs in a stage.
type Exec struct {
	// Title is shown in progress and errors: "[ray] install ray 2.60.0". Required.
	Title string
	// Args is the command and its arguments; no shell reads them. Required.
	Args []string
	// Env is the whole environment; the image's own variables are not in it. PATH has the usual directories when it
	// is not given.
	Env map[string]string
	// Dir is the working directory; default "/".
	Dir string
	// User is a name or numeric id, with ":group" if wanted; default root.
	User string
	// Network is what the command can reach; default [Offline].
	Network Network
	// Mounts are other stages in the command's filesystem.
	Mounts []Mount
	// Over are stages that lie over the command's whole filesystem, the last one on top, as [Merge] lays them. They are
	// for [Stage.Run]. raybuild's own engine shows them to the command without merging them first, and throws away what
	// the command writes. So it is for commands whose result nobody reads, such as checks.
	Over []Stage
	// Secrets are files or variables that leave no trace in the result or in the cache key.
	Secrets []Secret
	// Sockets are Unix sockets that [Session.Sockets] serves.
	Sockets []Socket
	// Tmpfs are directories in memory, thrown away afterwards.
	Tmpfs []string
	// Caches are directories that the builder keeps between builds, outside of any stage.
	Caches []Cache
	// Limits of the command. Those that are not given are those of [SolveOptions.Limits].
	Limits Limits
	// Fresh runs the command in every build, never from the cache. It is for commands that ask package sources or
	// other servers.
	Fresh bool
}

// Mount puts a stage at a path of a command's filesystem. The command's cache key has the content of
// the stage. If the stage has only artifacts and files, the key has its operations instead, because
// these determine the content.
type Mount struct {
	Path  string // absolute; need not exist in the stage below
	Stage Stage
	From  string // path inside Stage that is mounted, a directory or a file; default "/"
	Write bool   // writable, and what is written is thrown away; default read-only
}

// Secret is a value from [Session.Secrets] that a command gets as a file, a variable, or both.
type Secret struct {
	ID       string
	Path     string      // absolute path of the file; default none
	Env      string      // name of the variable; default none
	Optional bool        // missing is fine; default an error
	UID, GID int         // owner of the file
	Mode     os.FileMode // default 0400
}

// Socket is a Unix socket at Path whose other end is [Session.Sockets] under ID.
type Socket struct {
	ID       string
	Path     string
	UID, GID int
	Mode     os.FileMode // default 0600
}

// Cache is a directory that the builder keeps under ID. Only one command at a time uses it.
type Cache struct{ ID, Path string }

// Output is where a [Stage.Make] command writes.
type Output struct {
	Path string // absolute path in the command's filesystem
	On   Stage  // the stage that is changed
	From string // path inside On that is mounted at Path, must exist there; default "/"
}

// Run returns s after e has run in it. All of s is writable for e.
func (s Stage) Run(e Exec) Stage {
	if err := firstErr(append([]Stage{s}, e.stages()...)...); err != nil {
		return Stage{err: err}
	}
	if err := e.validate(); err != nil {
		return s.fail(e.Title, err)
	}
	if s.n == nil {
		return s.fail(e.Title, errors.New("an empty stage has no command to run"))
	}
	opts, over := e.options(), nodesOf(e.Over)
	merged := &node{title: e.Title + " (merge)", merge: append([]*node{s.n}, over...)}
	return Stage{n: &node{title: e.Title, base: s.n, over: over, layers: 1,
		apply: func(l *layout, base bkllb.State) bkllb.State {
			switch {
			case len(over) == 0:
				return base.Run(opts(l)...).Root()
			case l.over == "" || !areContentAddressed(over...):
				return l.state(merged).Run(opts(l)...).Root()
			}
			return base.Run(append(opts(l), l.overRoot(over)...)...).Root()
		}}}
}

// Make runs e in s, which is read-only, with out.On writable at out.Path. It returns out.On with e's changes. e runs
// again only if one of its inputs changes: s, its read-only mounts (by content), or out.On.
func (s Stage) Make(e Exec, out Output) Stage {
	if err := firstErr(append([]Stage{s, out.On}, e.stages()...)...); err != nil {
		return Stage{err: err}
	}
	err := e.validate()
	if err == nil {
		err = out.validate(e)
	}
	if err == nil && len(e.Over) > 0 {
		err = errors.New("stages can lie over the filesystem of a command of Run alone")
	}
	if err != nil {
		return s.fail(e.Title, err)
	}
	if s.n == nil {
		return s.fail(e.Title, errors.New("an empty stage has no command to run"))
	}
	opts, root, sel := e.options(), s.n, selector(out.From)
	return Stage{n: &node{title: e.Title, base: out.On.n, layers: 1,
		apply: func(l *layout, on bkllb.State) bkllb.State {
			run := l.state(root).Run(append(opts(l), bkllb.ReadonlyRootFS())...)
			return run.AddMount(out.Path, on, sel...)
		}}}
}

func (e Exec) stages() []Stage {
	in := slices.Clone(e.Over)
	for _, m := range e.Mounts {
		in = append(in, m.Stage)
	}
	return in
}

func nodesOf(all []Stage) []*node {
	var out []*node
	for _, s := range all {
		if s.n != nil {
			out = append(out, s.n)
		}
	}
	return out
}

// overRoot mounts stages where the builder lays them over the root, or names their trees. They are made of files and
// artifacts, so nothing in them takes away what lies below.
func (l *layout) overRoot(over []*node) []bkllb.RunOption {
	var opts []bkllb.RunOption
	var trees []string
	for i, n := range over {
		if tree := l.tree(n); tree != "" {
			trees = append(trees, fmt.Sprintf("%03d=%s", i, tree))
			continue
		}
		opts = append(opts, bkllb.AddMount(fmt.Sprintf("%s/%03d", l.over, i), l.state(n), bkllb.Readonly,
			bkllb.ContentCache(bkllb.MountContentCacheOff)))
	}
	if len(trees) > 0 {
		opts = append(opts, bkllb.AddEnv(treesVariable, strings.Join(trees, " ")))
	}
	return opts
}

// selector mounts a part of a stage; all of it needs no word.
func selector(from string) []bkllb.MountOption {
	if from == "" || from == "/" {
		return nil
	}
	return []bkllb.MountOption{bkllb.SourcePath(from)}
}

// options say which network a command has.
func (n Network) options() []bkllb.RunOption {
	switch n {
	case Offline:
		return []bkllb.RunOption{bkllb.Network(pb.NetMode_NONE)}
	case HostNetwork:
		return []bkllb.RunOption{bkllb.Network(pb.NetMode_HOST)}
	case Online: // the builder's default
	}
	return nil
}

// options makes e's run options. They are drawn from copies, so that a caller's later changes to e change no stage.
func (e Exec) options() func(*layout) []bkllb.RunOption {
	args, mounts := slices.Clone(e.Args), slices.Clone(e.Mounts)
	fixed := []bkllb.RunOption{bkllb.Args(args)}
	for _, k := range slices.Sorted(maps.Keys(e.Env)) {
		fixed = append(fixed, bkllb.AddEnv(k, e.Env[k]))
	}
	if e.Dir != "" {
		fixed = append(fixed, bkllb.Dir(e.Dir))
	}
	if e.User != "" {
		fixed = append(fixed, bkllb.User(e.User))
	}
	fixed = append(fixed, e.Network.options()...)
	for _, s := range e.Secrets {
		fixed = append(fixed, s.option())
	}
	for _, s := range e.Sockets {
		mode := s.Mode
		if mode == 0 {
			mode = 0o600
		}
		fixed = append(fixed, bkllb.AddSSHSocket(bkllb.SSHID(s.ID),
			bkllb.SSHSocketOpt(s.Path, s.UID, s.GID, int(mode.Perm()))))
	}
	for _, p := range e.Tmpfs {
		fixed = append(fixed, bkllb.AddMount(p, bkllb.Scratch(), bkllb.Tmpfs()))
	}
	for _, c := range e.Caches {
		fixed = append(fixed, bkllb.AddMount(c.Path, bkllb.Scratch(),
			bkllb.AsPersistentCacheDir(c.ID, bkllb.CacheMountLocked)))
	}
	online := e.Network != Offline
	return func(l *layout) []bkllb.RunOption {
		opts := slices.Clone(fixed)
		if online {
			opts = append(opts, l.proxy.option()...)
		}
		for _, m := range mounts {
			how := selector(m.From)
			if m.Write {
				how = append(how, bkllb.ForceNoOutput)
			} else {
				how = append(how, bkllb.Readonly)
			}
			if m.Stage.n != nil && m.Stage.n.contentAddressed && !l.line {
				// Else the builder hashes every byte of it. Those that take lines are too old to know the word.
				how = append(how, bkllb.ContentCache(bkllb.MountContentCacheOff))
			}
			opts = append(opts, bkllb.AddMount(m.Path, l.state(m.Stage.n), how...))
		}
		for _, o := range append(l.opts(e.Title), e.Limits.or(l.limits).options()...) {
			opts = append(opts, o)
		}
		if e.Fresh {
			opts = append(opts, bkllb.IgnoreCache)
		}
		return opts
	}
}

func (s Secret) option() bkllb.RunOption {
	mode := s.Mode
	if mode == 0 {
		mode = 0o400
	}
	var path *string
	if s.Path != "" {
		path = &s.Path
	}
	opts := []bkllb.SecretOption{bkllb.SecretFileOpt(s.UID, s.GID, int(mode.Perm()))}
	if s.Env != "" {
		opts = append(opts, bkllb.SecretAsEnvName(s.Env))
	}
	if s.Optional {
		opts = append(opts, bkllb.SecretOptional)
	}
	return bkllb.AddSecretWithDest(s.ID, path, opts...)
}

func (o Output) validate(e Exec) error {
	if err := cleanAbs("output path", o.Path); err != nil {
		return err
	}
	if slices.ContainsFunc(e.Mounts, func(m Mount) bool { return m.Path == o.Path }) {
		return fmt.Errorf("output path %q is mounted twice", o.Path)
	}
	return checkSelector(o.From, o.On)
}

// checkSelector checks the part of a stage that a mount takes.
func checkSelector(from string, of Stage) error {
	if from == "" || from == "/" {
		return nil
	}
	if err := cleanAbs("mounted path", from); err != nil {
		return err
	}
	if of.n == nil {
		return fmt.Errorf("mounted path %q: the stage is empty; make the directory first", from)
	}
	return nil
}

// validate checks e alone, all that can be wrong with it at once.
func (e Exec) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(strings.TrimSpace(e.Title) != "" && !strings.ContainsAny(e.Title, "\n\r"),
		"title %q: want one line of text", e.Title)
	check(len(e.Args) > 0 && e.Args[0] != "", "args: want a command")
	check(e.Dir == "" || cleanAbs("", e.Dir) == nil, "working directory %q: want an absolute path", e.Dir)
	for _, k := range slices.Sorted(maps.Keys(e.Env)) {
		check(k != "" && !strings.ContainsAny(k+e.Env[k], "\x00") && !strings.Contains(k, "="),
			"environment variable %q: bad name or value", k)
	}
	if err := e.Limits.validate(); err != nil {
		errs = append(errs, err)
	}
	seen := map[string]bool{}
	at := func(what, p string) {
		if err := cleanAbs(what, p); err != nil {
			errs = append(errs, err)
			return
		}
		check(!seen[p], "%s %q is mounted twice", what, p)
		seen[p] = true
	}
	for _, m := range e.Mounts {
		at("mount", m.Path)
		if err := checkSelector(m.From, m.Stage); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range e.Tmpfs {
		at("tmpfs", p)
	}
	for _, c := range e.Caches {
		at("cache", c.Path)
		check(c.ID != "", "cache %q: want an id", c.Path)
	}
	for _, s := range e.Sockets {
		at("socket", s.Path)
		check(s.ID != "", "socket %q: want an id", s.Path)
	}
	for _, s := range e.Secrets {
		check(s.ID != "", "secret: want an id")
		check(s.Path != "" || s.Env != "", "secret %q: want a path or a variable to put it in", s.ID)
		if s.Path != "" {
			at("secret", s.Path)
		}
	}
	return errors.Join(errs...)
}
