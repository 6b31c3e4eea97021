package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/moves"
)

func newNodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Take nodes out of the cluster, replace dead ones, change zones",
		Long: `Change which nodes hold data. Nodes come in by being started with --join; these
commands take them out, let a new one take the place of a dead one, or tell that a
node has moved to another zone. Data is copied in the background while all nodes
serve; one such change is on its way at a time (dunlin layout status).

A node may be given by the beginning of its id, as "dunlin status" shows it.`,
		Example: "  dunlin node decommission 461eee54 --dry-run\n  dunlin node decommission 461eee54 --wait",
	}
	cmd.AddCommand(newDecommissionCommand(), newRemoveCommand(), newReplaceCommand(), newZoneCommand())
	return cmd
}

func newDecommissionCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "decommission ID",
		Short: "Take a living node out: it hands over what it holds, and ends",
		Long: `Take a living node out of the cluster. Other nodes copy what it holds while it goes
on serving; then reads ask them, the node leaves, and its process ends with exit
code 0. Nothing is lost, and every keyspace keeps its number of replicas.

Undo it with "dunlin layout abort" until reads ask the new replicas; after that,
wipe the node's data directory and start it with --join, as a new node.
Refused: when too few nodes would stay for a keyspace's replicas, and while
another change is on its way.`,
		Example: "  dunlin node decommission 461eee54 --dry-run\n  dunlin node decommission 461eee54 --wait",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, operation{request: ofNode(admin.KindDecommission, args[0], "")})
		},
	}
	flags.add(cmd)
	flags.addWait(cmd)
	return cmd
}

func newRemoveCommand() *cobra.Command {
	var flags changeFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove DEAD_ID...",
		Short: "Take a dead node out for good: the others fill up what it held",
		Long: `Take a node out that will never come back. The other nodes copy what it held from
the replicas that are left, so that every keyspace has its number of replicas again.
Give all nodes that are lost at once: the change for one would wait for the others.

` + lost + `

Undo it with "dunlin layout abort" until reads ask the new replicas: the node is
then a member as before, and may be started again. After that it is refused, and its
data directory must be wiped before it can join as a new node.
Refused: for a node that is alive, when too few nodes would stay, while another
change is on its way, and when the nodes have all replicas of some range. A change that reads
follow already goes on without the node; it is removed when that has finished.`,
		Example: "  dunlin node remove 461eee54 --dry-run\n  dunlin node remove 461eee54 --yes --wait",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			op := operation{request: ofNode(admin.KindRemove, args[0], "", args[1:]...)}
			if !yes {
				op.unconfirmed = errUnconfirmed
			}
			return flags.run(cmd, op)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "confirm that the node is lost, with what it alone had")
	flags.add(cmd)
	flags.addWait(cmd)
	return cmd
}

func newReplaceCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "replace DEAD_ID",
		Short: "Let the next node that joins take the ranges of a dead one",
		Long: `Let a new machine take the place of a node that will never come back: the next node
that is started with --join, in the same zone and datacenter, takes exactly its ranges and
fills them from the other replicas; nothing else moves. Until then nothing happens.

` + lost + `

Undo it with "dunlin layout abort", before the new node is started or while it is
filled, until reads ask it.
Refused: for a node that is alive, while another change is on its way, and when it has
the only replica of some range.`,
		Example: "  dunlin node replace 461eee54 --dry-run\n  dunlin node replace 461eee54\n  dunlin serve --join 10.0.0.1:7481 --listen-host 10.0.0.9 --data-dir /var/lib/dunlin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, operation{request: ofNode(admin.KindReplace, args[0], ""), begun: printReplace})
		},
	}
	flags.add(cmd)
	return cmd
}

// printReplace says how the new node is started.
func printReplace(out io.Writer, s admin.Status, r client.ChangeRequest) {
	seed, place := "HOST:7481", ""
	if m := moves.Member(s.Members, s.Node); m != nil {
		seed = m.Internode
	}
	if m := moves.Member(s.Members, r.Node); m != nil {
		place = fmt.Sprintf(" --zone %s --datacenter %s", m.Zone, m.Datacenter)
	}
	fmt.Fprintf(out, "The next node that joins takes its ranges. Start the new machine, with an empty data directory:\n"+
		"  dunlin serve --join %s%s\nTake it back:  dunlin layout abort\n", seed, place)
}

func newZoneCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "zone ID ZONE",
		Short: "Tell that a node is in another zone; its ranges move where that needs it",
		Long: `Change the zone of a node. Replicas are spread over zones, so ranges may have to
be copied between nodes before it counts; the node serves all the while. Set the
node's own setting (zone) too, so that both say the same.

Undo it with "dunlin layout abort" until reads ask the new replicas; after that,
with the same command and the old zone.`,
		Example: "  dunlin node zone 461eee54 z2 --dry-run\n  dunlin node zone 461eee54 z2 --wait",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, operation{request: ofNode(admin.KindZone, args[0], args[1])})
		},
	}
	flags.add(cmd)
	flags.addWait(cmd)
	return cmd
}
