package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/cmd/dunlin/dev"
)

func newDevCommand() *cobra.Command {
	opts := dev.Options{
		Ports: dev.Ports{HTTP: defaultHTTPPort, Internode: defaultInternodePort, Gossip: defaultGossipPort, Admin: defaultAdminPort},
	}
	var sample, add bool
	var remove string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, for trying and developing",
		Long: `Run a cluster of child processes on this machine, one loopback address each
(on systems other than Linux: one address with port offsets). Data stays in
--dir and is taken up again on the next start. A node that dies stays dead: the
command that starts it again is printed. Ctrl-C stops all of them.

From another terminal, --add starts one more node of that cluster, on the next free
address, waits until it holds its ranges, and runs it until Ctrl-C; it stays a
member, and the next "dunlin dev" starts it with the others. --remove takes a node
out, by its number or id: it hands over what it holds and ends, and its data is set
aside. Both take the --base and --dir of the cluster; "dunlin layout abort" drops
either while it is on its way.`,
		Example: `  dunlin dev                       # three nodes on 127.0.0.1 … 127.0.0.3
  dunlin dev --nodes 5 --dir /tmp/d5 --wipe
  dunlin dev --base 127.0.1.1      # beside another cluster
  dunlin dev --add                 # a fourth node, from another terminal
  dunlin dev --remove 4            # it leaves again`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Again = !cmd.Flags().Changed("nodes")
			if sample {
				opts.Sample = writeSample
			}
			err := opts.Validate()
			if started := !opts.Again || opts.Wipe || sample; err == nil && (add && remove != "" || (add || remove != "") && started) {
				err = errors.New("--add and --remove each go alone, with --base and --dir at most")
			}
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			switch {
			case err != nil:
				return &usageError{err}
			case add:
				return dev.Add(ctx, out, opts, progressShow())
			case remove != "":
				return dev.Remove(ctx, out, opts, remove, progressShow())
			}
			return dev.Run(ctx, out, opts)
		},
	}
	f := cmd.Flags()
	f.IntVar(&opts.Nodes, "nodes", 3, "number of nodes; those that were added later run too unless it is given")
	f.StringVar(&opts.Dir, "dir", dev.DefaultDir, "directory for the nodes' data and logs (n1, n2, …)")
	f.StringVar(&opts.Base, "base", dev.DefaultBase, "address of the first node; the others follow it")
	f.BoolVar(&opts.Wipe, "wipe", false, "delete existing data of the development cluster first")
	f.BoolVar(&sample, "sample", false, "write a few sample events once the cluster is ready, and read them back")
	f.BoolVar(&add, "add", false, "start one more node of the cluster that runs already")
	f.StringVar(&remove, "remove", "", "take a node out of the cluster that runs already: its number, or its id")
	return cmd
}
