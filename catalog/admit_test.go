package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 21)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		c := nodes[0].catalog
		good := nodes[1].catalog.Hello()
		good.Boot, good.Ceiling = 7, 7000
		if err := c.Admit(good); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			reason string
			change func(*transport.Hello)
		}{
			{"cluster", func(h *transport.Hello) { h.Cluster = uuid.UUID{9} }},
			{"cluster", func(h *transport.Hello) { h.Cluster = uuid.Nil }},
			{"unknown", func(h *transport.Hello) { h.Node = uuid.UUID{9} }},
			{"store", func(h *transport.Hello) { h.Store = uuid.UUID{9} }},
			{"store", func(h *transport.Hello) { h.Store = uuid.Nil }},
			{"store", func(h *transport.Hello) { h.Boot = 0 }},
			{"boot", func(h *transport.Hello) { h.Boot = 6 }},
			{"boot", func(h *transport.Hello) { h.Start = uuid.UUID{9} }},
			{"ceiling", func(h *transport.Hello) { h.Ceiling = 6999 }},
			{"ceiling", func(h *transport.Hello) { h.Boot, h.Ceiling = 8, 6999 }},
		} {
			h := good
			tc.change(&h)
			counter := c.metrics.refusals.WithLabelValues(tc.reason)
			before := testutil.ToFloat64(counter)
			if err := c.Admit(h); err == nil || testutil.ToFloat64(counter) != before+1 {
				t.Errorf("%s: %+v: %v", tc.reason, h, err)
			}
		}
		if err := c.Admit(good); err != nil {
			t.Errorf("the refused hellos changed what is remembered: %v", err)
		}
		fresh := f.node(9)
		lone, err := fresh.open()
		if err != nil {
			t.Fatal(err)
		}
		if err := lone.Admit(good); !errors.Is(err, ErrNoCatalog) {
			t.Errorf("a node without a cluster admits %v", err)
		}
	})
}

// TestIdentitiesAreRemembered over restarts: a boot number at once, a ceiling that
// rises under one boot number at a bounded rate.
func TestIdentitiesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 22)
		nodes := f.cluster(2)
		defer func() { stopAll(nodes) }()
		h := nodes[1].catalog.Hello()
		h.Boot = 50
		admit := func(boot uint64, ceiling hlc.Timestamp) error {
			h.Boot, h.Ceiling = boot, ceiling
			return nodes[0].catalog.Admit(h)
		}
		restart := func() {
			nodes[0].crash()
			nodes[0].start()
		}
		if err := admit(50, 10_000); err != nil {
			t.Fatal(err)
		}
		restart()
		if err := admit(49, 10_000); err == nil {
			t.Error("a lower boot number was admitted after a restart")
		}
		if err := admit(50, 9_999); err == nil {
			t.Error("a lower ceiling was admitted after a restart")
		}
		time.Sleep(time.Minute)
		sets := nodes[0].meta.writes()
		for i := range 1000 {
			if err := admit(50, hlc.Timestamp(10_000+i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := nodes[0].meta.writes() - sets; n < 1 || n > 2 {
			t.Errorf("1000 rising ceilings at once cost %d writes", n)
		}
		var wg sync.WaitGroup
		for i := range uint64(20) {
			wg.Go(func() {
				h := h
				h.Boot = 51 + i
				_ = nodes[0].catalog.Admit(h) // those that come late are refused
			})
		}
		wg.Wait()
		restart()
		if err := admit(69, 20_000); err == nil {
			t.Error("concurrent hellos left a lower boot number on disk")
		}
		if err := admit(70, 20_000); err != nil {
			t.Error(err)
		}
	})
}

// TestOlderCopyOfADirectory: a node started from a copy is refused as a peer, as a
// proposer and as a voter, since it may have forgotten a promise.
func TestOlderCopyOfADirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, 23)
		nodes := f.cluster(3)
		defer func() { stopAll(nodes) }()
		n := nodes[2]
		image, boot, ceiling := n.meta.copy(), n.boot, n.ceiling
		for range 3 {
			n.crash()
			n.start()
			if err := n.catalog.Propose(within(t, time.Minute), withKeyspace(fmt.Sprint("k", n.boot))); err != nil {
				t.Fatal(err)
			}
		}
		f.settle(nodes)
		n.crash()
		n.meta, n.boot, n.ceiling = image, boot, ceiling
		n.start()
		h := n.catalog.Hello()
		if err := nodes[0].catalog.Admit(h); err == nil || !strings.Contains(err.Error(), "older copy") {
			t.Errorf("as a peer: %v", err)
		}
		if err := n.catalog.CatchUp(within(t, 10*time.Second), nodes[0].catalog.Self(), 4); err == nil || !strings.Contains(err.Error(), "older copy") {
			t.Errorf("pulling: %v", err)
		}
		if err := n.catalog.Propose(within(t, 10*time.Second), withKeyspace("old")); err == nil {
			t.Error("as a proposer it was answered")
		}
		// With one of the two others gone, its vote would be needed.
		nodes[1].crash()
		err := nodes[0].catalog.Propose(within(t, 20*time.Second), withKeyspace("new"))
		var none *NoMajorityError
		if !errors.As(err, &none) || none.Alive != 1 {
			t.Errorf("as a voter: %v", err)
		}
	})
}

// TestChaos cuts, crashes and restarts nodes under proposals from all sides. What
// was reported as done stays done, and history has one line.
func TestChaos(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	decided, refused := 0, 0
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			d, r := chaos(t, seed)
			decided, refused = decided+d, refused+r
		})
	}
	t.Logf("%d proposals decided, %d given up", decided, refused)
	if decided == 0 || refused == 0 {
		t.Error("the faults are too strong or too weak to show anything")
	}
}

func chaos(t *testing.T, seed uint64) (decided, refused int) {
	f := newFabric(t, 100+seed)
	nodes := f.cluster(5)
	defer func() { stopAll(nodes) }()
	random := rand.New(rand.NewPCG(seed, 3))
	f.set(func() { f.loss, f.delay = 0.05*random.Float64(), time.Duration(1+random.IntN(200))*time.Millisecond })
	ctx, cancel := context.WithTimeout(context.Background(), 75*time.Second)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		done []string
	)
	for i, n := range nodes {
		wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				name := fmt.Sprintf("k%d_%d", i, k)
				try, cancel := context.WithTimeout(ctx, 5*time.Second)
				c := f.at(n.address)
				if c == nil {
					cancel()
					sleep(ctx, time.Second)
					continue
				}
				err := c.Propose(try, withColumn(name))
				cancel()
				mu.Lock()
				if err == nil {
					done = append(done, name)
				} else {
					refused++
				}
				mu.Unlock()
				sleep(ctx, 2*time.Second)
			}
		})
	}
	for ctx.Err() == nil {
		switch random.IntN(4) {
		case 0:
			at := 1 + random.IntN(4)
			mixed := append([]*node(nil), nodes...)
			random.Shuffle(5, func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			f.cut(mixed[:at], mixed[at:])
		case 1:
			f.set(func() { f.drop = nil })
		default:
			n := nodes[random.IntN(5)]
			n.crash()
			sleep(ctx, time.Duration(random.IntN(5000))*time.Millisecond)
			n.start()
		}
		sleep(ctx, time.Duration(random.IntN(8000))*time.Millisecond)
	}
	cancel()
	wg.Wait()
	f.heal()
	if err := nodes[0].catalog.Seal(within(t, time.Minute)); err != nil {
		t.Errorf("seed %d: the cluster does not recover: %v", seed, err)
	}
	f.settle(nodes)
	d := nodes[0].catalog.Document()
	for _, name := range done {
		if d.Schema.Table(schema.KVTable).ColumnNamed(name) == nil {
			t.Errorf("seed %d: %s was reported as done and is not there", seed, name)
		}
	}
	return len(done), refused
}

// withColumn adds a column to dunlin.kv unless it is there: like withKeyspace, but
// cheap however many there are.
func withColumn(name string) func(Document) (Document, error) {
	return func(d Document) (Document, error) {
		table := d.Schema.Table(schema.KVTable)
		if table.ColumnNamed(name) != nil {
			return d, ErrUnchanged
		}
		table.Columns = append(table.Columns, schema.Column{ID: table.NextColumn, Name: name, Kind: record.Blob, Role: schema.Regular})
		table.NextColumn++
		return d, nil
	}
}

func FuzzHandle(f *testing.F) {
	kinds := []string{callPrepare, callAccept, callPull, callLearn, callJoin, "catalog.other"}
	for i := range kinds {
		f.Add(uint8(i), []byte(`{}`))
		f.Add(uint8(i), []byte(`{"version":2,"ballot":{"round":1},"value":"e30=","format":1,"member":{"id":"x"}}`))
		f.Add(uint8(i), []byte{0xff})
	}
	raw, err := json.Marshal(ballotRequest{Version: 2, Value: []byte(`{"format":1,"layout":{"members":[{}],"owners":[9]}}`)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(1), raw)
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		fab := newFabric(t, 1)
		n := fab.node(1)
		c, err := n.open()
		if err != nil {
			t.Fatal(err)
		}
		n.catalog = c
		if err := c.Bootstrap(context.Background()); err != nil {
			t.Fatal(err)
		}
		h := c.Hello()
		before := c.Fact()
		if _, err := c.Handle(context.Background(), h, kinds[int(kind)%len(kinds)], body); err != nil {
			var typed *transport.ControlError
			if !errors.As(err, &typed) || typed.Kind == "" {
				t.Fatalf("error of no kind: %v", err)
			}
		}
		if c.Fact() != before && !json.Valid(body) {
			t.Fatal("garbage changed the catalog")
		}
	})
}
