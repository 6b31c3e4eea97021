package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/ring"
)

func newKeyspaceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keyspace",
		Short:   "Change keyspaces",
		Example: "  dunlin keyspace replication dunlin 3 --wait",
	}
	cmd.AddCommand(newReplicationCommand())
	return cmd
}

func newReplicationCommand() *cobra.Command {
	var flags changeFlags
	cmd := &cobra.Command{
		Use:   "replication KEYSPACE FACTOR|DC=FACTOR[,DC=FACTOR…]",
		Short: "Change how many replicas a keyspace has",
		Long: `Change how many replicas every row of a keyspace has: one number, or one for each
datacenter. More replicas are filled by copying before reads ask them; of fewer,
those that stay are made equal to those that go before these drop their data.
Quorums count by the new number once the change is done.

At most one replica of a range may be new at a time: go from 1 to 3 by way of 2.
Undo it with "dunlin layout abort" until reads ask the new replicas; after that,
with the same command and the old numbers.
Refused: more replicas than there are nodes, and steps that are too large.`,
		Example: "  dunlin keyspace replication dunlin 3 --dry-run\n  dunlin keyspace replication dunlin dc1=3,dc2=2 --wait",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, operation{request: func(ctx context.Context, c *client.Admin, s admin.Status) (client.ChangeRequest, error) {
				datacenters, err := placesOf(ctx, c, s, args[0])
				if err != nil {
					return client.ChangeRequest{}, err
				}
				factors, err := parseFactors(args[1], datacenters)
				return client.ChangeRequest{Kind: admin.KindReplication, Keyspace: args[0], Factors: factors}, err
			}})
		},
	}
	flags.add(cmd)
	flags.addWait(cmd)
	return cmd
}

// placesOf lists the datacenters that a keyspace can have replicas in; the only one
// is "" if it does not look at them.
func placesOf(ctx context.Context, c *client.Admin, s admin.Status, keyspace string) ([]string, error) {
	raw, err := c.Layout(ctx)
	if err != nil {
		return nil, err
	}
	var layout admin.Layout
	if err := json.Unmarshal(raw, &layout); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	var names []string
	for _, k := range layout.Keyspaces {
		if k.Keyspace == keyspace {
			if k.Strategy == ring.SimpleStrategy {
				return []string{""}, nil
			}
			return datacentersOf(s.Members), nil
		}
		names = append(names, k.Keyspace)
	}
	return nil, fmt.Errorf("there is no keyspace %s; there are %s", keyspace, strings.Join(names, ", "))
}

func datacentersOf(members []admin.Member) (all []string) {
	for _, m := range members {
		all = append(all, m.Datacenter)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// parseFactors reads one number, or one for each of several datacenters.
func parseFactors(argument string, datacenters []string) (map[string]int, error) {
	if !strings.Contains(argument, "=") {
		n, err := parseFactor(argument)
		if err == nil && len(datacenters) != 1 {
			err = fmt.Errorf("the cluster has the datacenters %s: give a number for each, such as %s=%d,…",
				strings.Join(datacenters, ", "), strings.Join(datacenters[:min(1, len(datacenters))], ""), n)
		}
		if err != nil {
			return nil, err
		}
		return map[string]int{datacenters[0]: n}, nil
	}
	factors := map[string]int{}
	for part := range strings.SplitSeq(argument, ",") {
		datacenter, number, _ := strings.Cut(part, "=")
		n, err := parseFactor(number)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(datacenters, datacenter) {
			return nil, fmt.Errorf("there is no datacenter %q; there are %s", datacenter, strings.Join(datacenters, ", "))
		}
		if _, twice := factors[datacenter]; twice {
			return nil, fmt.Errorf("datacenter %s is given twice", datacenter)
		}
		factors[datacenter] = n
	}
	return factors, nil
}

func parseFactor(number string) (int, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 100 {
		return 0, fmt.Errorf("%q is no number of replicas: give 1 to 100", number)
	}
	return n, nil
}
