package sim

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// idle is a node that only listens.
type idle struct {
	env Env
	run func(ctx context.Context, env Env) error
}

func (n idle) Run(ctx context.Context) error {
	if n.run != nil {
		return n.run(ctx, n.env)
	}
	l, err := n.env.Host.Listen(netip.AddrPortFrom(n.env.Host.Address(), internodePort).String())
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil
		}
		_ = conn.Close()
	}
}

func launchIdle(env Env) (Node, error) { return idle{env: env}, nil }

// TestDriveLeavesNothingBehind runs whole schedules and finds every node up,
// every link open and fast, and every clock as before.
func TestDriveLeavesNothingBehind(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			c := NewCluster(seed, 5, 5*time.Second, launchIdle, nil)
			c.client(0)
			c.each(c.Start)
			before := make([]time.Duration, 5)
			for i, m := range c.machines {
				before[i] = time.Duration(m.clock.offset.Load())
			}
			length := 20 * time.Minute
			began := time.Now()
			c.Drive(Plan(seed, PlanOptions{Nodes: 5, Length: length, MaxSkew: 5 * time.Second}))
			if took := time.Since(began); took > length || took < length/2 {
				t.Errorf("seed %d: the schedule took %s", seed, took)
			}
			synctest.Wait() // until the nodes that were started last listen
			for i, m := range c.machines {
				if got := time.Duration(m.clock.offset.Load()); got != before[i] {
					t.Errorf("seed %d: clock %d is off by %s, was %s", seed, i, got, before[i])
				}
				for _, to := range c.machines {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					if _, err := m.boot.host.Dial(ctx, netip.AddrPortFrom(to.address, internodePort).String()); err != nil {
						t.Errorf("seed %d: from %s to %s: %v", seed, m.address, to.address, err)
					}
					cancel()
				}
			}
			if p := c.Problems(); len(p) > 0 {
				t.Errorf("seed %d: %v", seed, p)
			}
			c.Close()
		})
	}
}

func TestClockJumpsAndDrifts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(time.Second, 1e-3)
		if off := c.Now().Sub(time.Now().Round(0)); off != time.Second {
			t.Errorf("off by %s at first", off)
		}
		time.Sleep(1000 * time.Second)
		c.Jump(-time.Minute)
		want := time.Second + time.Second - time.Minute
		if off := c.Now().Sub(time.Now().Round(0)); off != want {
			t.Errorf("off by %s, want %s", off, want)
		}
	})
}

// TestKillLosesUnsyncedDataAndZombiesAreHarmless writes to disk after a crash.
func TestKillLosesUnsyncedDataAndZombiesAreHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int32
		launch := func(env Env) (Node, error) {
			if _, err := env.FS.Stat("/unsynced"); err == nil {
				t.Error("what was not synced survived a crash")
			}
			return idle{env, func(ctx context.Context, env Env) error {
				write(t, env.FS, "/unsynced")
				<-ctx.Done()
				write(t, env.FS, "/unsynced")
				time.Sleep(10 * time.Second) // a slow end
				ended.Add(1)
				return errors.New("ended after its crash")
			}}, nil
		}
		c := NewCluster(1, 1, time.Second, launch, nil)
		for range 5 {
			c.Start(0)
			time.Sleep(time.Second)
			c.Kill(0, false, 0)
		}
		if got := ended.Load(); got != 0 {
			t.Errorf("%d zombies ended: Kill waited for them", got)
		}
		c.Close()
		if got := ended.Load(); got != 5 {
			t.Errorf("%d of 5 zombies ended: Close did not wait for them", got)
		}
		if p := c.Problems(); len(p) > 0 {
			t.Error(p)
		}
	})
}

func write(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	f, err := fs.Create(name, "")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write([]byte("x"))
	_ = f.Close()
}

func TestProblemsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var boots atomic.Int32
		launch := func(env Env) (Node, error) {
			switch boots.Add(1) {
			case 1:
				return nil, errors.New("no disk")
			case 2:
				return idle{env, func(context.Context, Env) error { return errors.New("gave up") }}, nil
			case 3:
				return idle{env, func(ctx context.Context, env Env) error {
					env.Fatal(errors.New("log is gone"))
					<-ctx.Done()
					return nil
				}}, nil
			}
			return idle{env: env}, nil
		}
		c := NewCluster(1, 1, time.Second, launch, nil)
		c.Start(0)
		c.Start(0)
		time.Sleep(time.Second)
		c.Kill(0, true, 0)
		c.Start(0)
		time.Sleep(time.Minute)
		c.Start(0) // takes its turn, and finds it up
		if n := boots.Load(); n != 4 {
			t.Errorf("%d boots: a node with a fatal error is not booted again", n)
		}
		c.Close()
		all := strings.Join(c.Problems(), "\n")
		if !strings.Contains(all, "no disk") || !strings.Contains(all, "gave up") || c.fatals != 1 {
			t.Errorf("problems: %s; fatals: %d", all, c.fatals)
		}
	})
}
