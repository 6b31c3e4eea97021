package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/config"
	"github.com/dunlindb/dunlin/node"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one node",
		Long: `Run one node until SIGINT or SIGTERM, which stop it gracefully. The first node
of a cluster is started with --bootstrap, the others with --join; a node that is
a member already needs neither and ignores both. Settings come from flags, the
environment (DUNLIN_…) and --config FILE, in that order.`,
		Example: `  dunlin serve --bootstrap --data-dir /var/lib/dunlin
  dunlin serve --join 127.0.0.1 --listen-host 127.0.0.2 --data-dir /var/lib/dunlin2
  DUNLIN_ZONE=b dunlin serve --config dunlin.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return &usageError{err}
			}
			cfg.Node.Version = version
			if os.Getenv("GOMEMLIMIT") == "" {
				debug.SetMemoryLimit(cfg.Node.HeapLimit())
			}
			env, err := node.SystemEnv(cfg.Log.Logger(os.Stderr))
			if err != nil {
				return err
			}
			n, err := node.Open(cfg.Node, env)
			if err != nil {
				return err
			}
			err = n.Run(cmd.Context())
			if gone := (*catalog.GoneError)(nil); errors.As(err, &gone) && gone.Wanted() {
				fmt.Fprintln(cmd.ErrOrStderr(), "dunlin: "+gone.Error())
				return nil
			}
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}
