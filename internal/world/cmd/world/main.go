// Command world runs raybuild's offline package world in the background: `world up` starts it, `world
// down` ends it. make world and make world-down call it. For make quickstart it also runs a registry
// without a world, and a command in an image that it pulls.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/world/pypi"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and the signal handler with it
	}
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "world", Short: "The offline package world: mirrors and a registry on loopback",
		SilenceUsage: true, SilenceErrors: true}
	o := options{stdout: os.Stdout}
	var scale, raybuild string
	var port int
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&o.dir, "dir", "build/world", "directory of the world's state, env and recipe")
		c.Flags().StringVar(&o.cache, "cache", "", "directory of made artifacts (default $RAYBUILD_WORLD_CACHE, else "+
			"the user's cache directory)")
		c.Flags().StringVar(&scale, "scale", string(pypi.Small), "size of the big wheels: small or full")
		c.Flags().IntVar(&port, "registry-port", 0, "port of the registry (default the last one, else a free one)")
		c.Args = cobra.NoArgs
		c.PreRunE = func(*cobra.Command, []string) error {
			if o.scale = pypi.Scale(scale); o.scale != pypi.Small && o.scale != pypi.Full {
				return fmt.Errorf("read --scale %q: want small or full", scale)
			}
			if port < 0 || port > 65535 {
				return errors.New("read --registry-port: want 0 to 65535")
			}
			if port != 0 {
				o.registry = fmt.Sprintf("127.0.0.1:%d", port)
			}
			return nil
		}
		return c
	}
	only := flags(&cobra.Command{Use: "registry",
		Short: "Start a registry without a world in the background, if it does not run, and print its address",
		RunE:  func(c *cobra.Command, _ []string) error { return registryUp(c.Context(), o, raybuild) }})
	only.Flags().StringVar(&raybuild, "raybuild", "bin/raybuild", "the raybuild that serves it")
	quick := flags(&cobra.Command{Use: "quickstart",
		Short: "Look which sources answer, start what the others need, and print what make quickstart builds with",
		RunE: func(c *cobra.Command, _ []string) error {
			return quickstart(c.Context(), o, raybuild, c.OutOrStdout())
		}})
	quick.Flags().StringVar(&raybuild, "raybuild", "bin/raybuild", "the raybuild that serves a registry")
	root.AddCommand(
		only,
		quick,
		&cobra.Command{Use: "line RECIPE", Short: "Say what in the image of make quickstart's recipe is real",
			Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
				return line(args[0], c.OutOrStdout())
			}},
		runCommand(),
		flags(&cobra.Command{Use: "up", Short: "Start the world in the background, if it does not run",
			RunE: func(c *cobra.Command, _ []string) error { return up(c.Context(), o) }}),
		flags(&cobra.Command{Use: "down", Short: "End the world",
			RunE: func(c *cobra.Command, _ []string) error { return down(c.Context(), o) }}),
		flags(&cobra.Command{Use: "serve", Short: "Run the world in the foreground",
			RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), o) }}),
	)
	return root
}
