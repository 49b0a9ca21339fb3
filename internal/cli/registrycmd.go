package cli

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
)

func (a *app) registryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Run a registry of your own",
		Long: "registry has a small image registry that keeps its blobs in a directory, for a desk, a test or a " +
			"closed network.",
		Example: "  raybuild registry serve",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.registryServeCommand())
	return cmd
}

// serveDir serves the registry of a directory.
func (a *app) serveDir(ctx context.Context, addr, dir string, hosts []string) error {
	if dir == "" {
		home, err := a.makeHome()
		if err != nil {
			return err
		}
		dir = filepath.Join(home, raybuild.RegistryDir)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %q: %w: is a registry running there already? name another address", addr,
			err)
	}
	if host, _, _ := net.SplitHostPort(addr); !registry.Loopback(host) { // the caller has looked at it
		a.warn("whoever reaches %s can read and overwrite every image: there is no TLS and no password",
			ln.Addr())
	}
	a.say("serving %s on http://%s; end it with ^C", a.path(dir), ln.Addr())
	if err := a.print("%s", ln.Addr()); err != nil {
		return err
	}
	return registry.Serve(ctx, ln, a.path(dir), hosts...)
}

// serveBundles serves the images of bundles.
func (a *app) serveBundles(ctx context.Context, addr string, bundles, hosts []string) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %q: %w: is a registry running there already? name another address", addr, err)
	}
	o := a.options()
	o.Bundles = bundles
	return raybuild.ServeBundles(ctx, o, ln, func(images []string) error {
		for _, image := range images {
			a.say("serving %s/%s", ln.Addr(), image)
		}
		return a.print("%s", ln.Addr())
	}, hosts...)
}

func (a *app) registryServeCommand() *cobra.Command {
	var dir string
	var hosts, bundles []string
	cmd := &cobra.Command{
		Use:   "serve [ADDR]",
		Short: "Serve a registry from a directory",
		Long: `serve answers the OCI distribution API on ADDR (default 127.0.0.1:5000; port 0
picks a free one) until you interrupt it. It keeps images in a directory, so
they survive a restart. With --bundle it serves the images of bundles instead, which
can only be read: registry.example/team/ray:1 is there as ADDR/team/ray:1.

It speaks plain HTTP and asks for no credentials: keep it on loopback, or put a
proxy with TLS and a password before it. It prints the address that it listens
on, on standard output.`,
		Example: `  raybuild registry serve &
  raybuild --push 127.0.0.1:5000/ray:test

  raybuild registry serve --dir /srv/images 127.0.0.1:5001

  raybuild registry serve --bundle /media/disk/ray 10.0.0.5:5000`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%q takes one address, got %d", cmd.CommandPath(), len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			addr := "127.0.0.1:5000"
			if len(args) == 1 {
				addr = args[0]
			}
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return usagef("address %q: write it as HOST:PORT, such as 127.0.0.1:5000", addr)
			}
			if len(bundles) > 0 {
				if dir != "" {
					return usagef("--bundle serves what is in bundles: leave out --dir")
				}
				return a.serveBundles(cmd.Context(), addr, bundles, hosts)
			}
			return a.serveDir(cmd.Context(), addr, dir, hosts)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the images (default: registry in raybuild's own directory)")
	cmd.Flags().StringArrayVar(&bundles, "bundle", nil, "serve the images of the bundle in `DIR`, which raybuild "+
		"bundle IMAGE made, and nothing else (repeatable)")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "also answer to the name `HOST`, on a loopback address: for a "+
		"proxy that keeps the name under which it was asked (repeatable)")
	return cmd
}
