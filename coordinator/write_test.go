package coordinator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// TestReadsSeeWrites: whenever W+R > N, a read sees an acknowledged write,
// whichever replica is slow and whichever node is asked.
func TestReadsSeeWrites(t *testing.T) {
	for _, levels := range []struct{ write, read Level }{{All, One}, {Quorum, Quorum}, {One, All}, {Two, Quorum}, {All, All}} {
		for slow := range 4 {
			synctest.Test(t, func(t *testing.T) {
				cl := newCluster(t, 5, 3, nil)
				if slow < 3 {
					replica := cl.replica("p", slow)
					replica.behave(func(n *node) { n.delay = 700 * time.Millisecond })
				}
				for i := range 10 {
					writer, reader := cl.nodes[i%5], cl.nodes[(i+2)%5]
					res, err := writer.write(t, WriteOptions{Level: levels.write}, func(w *Write) { put(t, w, "p", i, "v") })
					if err = errors.Join(err, resErr(res)); err != nil {
						t.Fatal(err)
					}
					got, err := reader.read(t, levels.read, "p")
					if err != nil || got[i] != "v" || len(got) != i+1 {
						t.Fatalf("w=%v r=%v slow=%d: after write %d read %v, %v", levels.write, levels.read, slow, i, got, err)
					}
				}
				time.Sleep(time.Minute) // stragglers
			})
		}
	}
}

func resErr(r *Result) error {
	if r == nil {
		return nil
	}
	return r.Err()
}

// replica returns the i-th replica of a partition of the test table.
func (cl *cluster) replica(partition string, i int) *node {
	v := cl.current()
	members := v.Ring.Replicas(v.Table(testTable).Placement, token.Of([]byte(partition)).Range())
	return cl.node(v.Ring.Member(members[i]).ID)
}

func TestTwoOfThreeDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		for _, n := range cl.nodes[1:] {
			n.behave(func(n *node) { n.dead = true })
		}
		n := cl.nodes[0]
		start := time.Now()
		res, err := n.write(t, WriteOptions{Level: One, Receipt: true}, func(w *Write) { put(t, w, "p", 1, "v") })
		if err = errors.Join(err, resErr(res)); err != nil {
			t.Fatal(err)
		}
		if g := res.Row(0); g.Acks != 1 || g.Replicas != 3 {
			t.Errorf("acks %d of %d, want 1 of 3", g.Acks, g.Replicas)
		}
		outcomes := map[string]int{}
		for _, r := range res.Row(0).Receipt.Replicas {
			outcomes[r.Outcome]++
		}
		if outcomes["ok"] != 1 || outcomes["dead"] != 2 {
			t.Errorf("receipt says %v", outcomes)
		}
		res, err = n.write(t, WriteOptions{Level: Quorum}, func(w *Write) { put(t, w, "p", 2, "v") })
		if err != nil {
			t.Fatal(err)
		}
		wantUnavailable(t, res.Row(0).Err, 2, 1)
		_, err = n.read(t, Quorum, "p")
		wantUnavailable(t, err, 2, 1)
		if got, err := n.read(t, One, "p"); err != nil || len(got) != 1 {
			t.Errorf("r=one reads %v, %v", got, err)
		}
		synctest.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("took %s of virtual time, want none", took)
		}
		if got := testutil.ToFloat64(n.coordinator.metrics.dead); got != 2 {
			t.Errorf("%v replica writes counted as missed, want 2", got)
		}
	})
}

func wantUnavailable(t *testing.T, err error, need, alive int) {
	t.Helper()
	var unavailable *UnavailableError
	if !errors.As(err, &unavailable) || unavailable.Need != need || unavailable.Alive != alive || unavailable.Sent {
		t.Errorf("error %v, want unavailable before sending: need %d, alive %d", err, need, alive)
	}
}

func TestWriteTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		cl.nodes[1].behave(func(n *node) { n.hangs = true })
		cl.nodes[2].behave(func(n *node) { n.hangs = true })
		start := time.Now()
		res, err := cl.nodes[0].write(t, WriteOptions{Timeout: time.Second}, func(w *Write) { put(t, w, "p", 1, "v") })
		if err != nil {
			t.Fatal(err)
		}
		var timeout *TimeoutError
		if !errors.As(res.Err(), &timeout) || *timeout != (TimeoutError{Need: 2, Got: 1, Write: true}) {
			t.Fatalf("error %v, want a write timeout: need 2, got 1", res.Err())
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %s, want the timeout of 1 s", took)
		}
	})
}

// TestEarlyFailure: the answer does not wait for the deadline when the level
// cannot be reached any more, and says why.
func TestEarlyFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		refuse := func(v transport.Verdict) {
			for _, n := range cl.nodes[1:] {
				n.behave(func(n *node) { n.refuses = &v })
			}
		}
		cl.nodes[0].behave(func(n *node) { n.hangs = true })
		write := func() error {
			res, err := cl.nodes[0].write(t, WriteOptions{}, func(w *Write) { put(t, w, "p", 1, "v") })
			return errors.Join(err, resErr(res))
		}
		start := time.Now()
		refuse(transport.Verdict{Code: transport.Overloaded, Detail: "queue full"})
		var overloaded *OverloadedError
		if err := write(); !errors.As(err, &overloaded) || overloaded.Local || overloaded.Detail != "queue full" {
			t.Errorf("error %v, want remote overload", err)
		}
		refuse(transport.Verdict{Code: transport.Failed, Detail: "disk full"})
		var unavailable *UnavailableError
		if err := write(); !errors.As(err, &unavailable) || !unavailable.Sent || unavailable.Alive != 1 || unavailable.Detail != "disk full" {
			t.Errorf("error %v, want unavailable after sending, 1 alive", err)
		}
		refuse(transport.Verdict{Code: transport.UnknownTable})
		var unknown *UnknownTableError
		if err := write(); !errors.As(err, &unknown) || unknown.Table != testTable {
			t.Errorf("error %v, want the unknown table %d", err, testTable)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %s, want no time", took)
		}
		time.Sleep(time.Minute)
	})
}

// TestStragglers: the answer does not wait for the slow replica, which is heard
// and counted later; Run ends when the last has been.
func TestStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, func(cfg *Config, env *Env) { cfg.StragglerBytes = 500 })
		n := cl.nodes[0]
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.coordinator.Run(ctx) }()
		cl.nodes[2].behave(func(n *node) { n.hangs = true })
		var overloaded *OverloadedError
		writes := 0
		for ; writes < 100; writes++ {
			res, err := n.write(t, WriteOptions{}, func(w *Write) { put(t, w, "p", writes, "a value of some bytes") })
			if errors.As(err, &overloaded) {
				break
			}
			if err = errors.Join(err, resErr(res)); err != nil {
				t.Fatal(err)
			}
		}
		if overloaded == nil || !overloaded.Local || writes < 3 || writes > 20 {
			t.Fatalf("%d writes with stragglers were taken, then %v", writes, overloaded)
		}
		stop()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("Run has ended with stragglers open: %v", err)
		default:
		}
		if _, err := n.write(t, WriteOptions{}, func(w *Write) { put(t, w, "p", 0, "v") }); !errors.Is(err, ErrStopping) {
			t.Errorf("a write while stopping: %v", err)
		}
		if _, err := n.read(t, One, "p"); !errors.Is(err, ErrStopping) {
			t.Errorf("a read while stopping: %v", err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := testutil.ToFloat64(n.coordinator.metrics.missedCodes[transport.Timeout]); int(got) != writes {
			t.Errorf("%v replica writes counted as missed, want %d", got, writes)
		}
	})
}

func TestAdmissionRefusesWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, func(cfg *Config, env *Env) { cfg.InFlightBytes = 1000 })
		for _, n := range cl.nodes {
			n.behave(func(n *node) { n.delay = time.Second })
		}
		n := cl.nodes[0]
		first := make(chan error)
		go func() {
			res, err := n.write(t, WriteOptions{}, func(w *Write) { put(t, w, "p", 1, string(make([]byte, 900))) })
			first <- errors.Join(err, resErr(res))
		}()
		synctest.Wait()
		_, err := n.write(t, WriteOptions{}, func(w *Write) { put(t, w, "p", 2, string(make([]byte, 900))) })
		var overloaded *OverloadedError
		if !errors.As(err, &overloaded) || !overloaded.Local {
			t.Errorf("error %v, want overload of this node", err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
		if res, err := n.write(t, WriteOptions{}, func(w *Write) { put(t, w, "p", 2, "v") }); errors.Join(err, resErr(res)) != nil {
			t.Errorf("after the first write: %v", errors.Join(err, resErr(res)))
		}
	})
}

// TestManyRows: rows of many partitions, in any order, arrive once on each of
// their replicas, in groups of one replica set and bounded size; each row has
// its own group's result.
func TestManyRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 5, 3, func(cfg *Config, env *Env) { cfg.GroupBytes = 2000 })
		cl.nodes[4].behave(func(n *node) { n.dead = true })
		n := cl.nodes[0]
		const partitions, each = 40, 5
		res, err := n.write(t, WriteOptions{Level: All}, func(w *Write) {
			for i := range each {
				for p := range partitions {
					size := 10
					if p == 7 && i == 3 {
						size = 5000 // larger than a group
					}
					put(t, w, fmt.Sprint("p", p), each-i, string(make([]byte, size)))
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if res.Rows() != partitions*each {
			t.Fatalf("%d rows in the result", res.Rows())
		}
		failed := 0
		for i := range res.Rows() {
			p := fmt.Sprint("p", i%partitions)
			onDead := false
			for j := range 3 {
				onDead = onDead || cl.replica(p, j) == cl.nodes[4]
			}
			if got := res.Row(i); (got.Err != nil) != onDead || onDead == (got.Acks == 3) {
				t.Fatalf("row %d: acks %d, error %v; on the dead node: %t", i, got.Acks, got.Err, onDead)
			}
			if onDead {
				failed++
				continue
			}
			for j := range 3 {
				r := cl.replica(p, j)
				key := rowKey(t, cl.current().Table(testTable), p, each-i/partitions)
				if _, ok := r.rows[string(key)]; !ok {
					t.Fatalf("row %d is not on its replica %d", i, j)
				}
			}
		}
		if failed == 0 || failed == res.Rows() {
			t.Fatalf("%d of %d rows failed", failed, res.Rows())
		}
		groups := 0
		for _, r := range cl.nodes {
			groups += r.applies
			if r.largest > 2000 || r.applies > 0 && r.largest == 0 {
				t.Errorf("the largest group of several rows has %d bytes", r.largest)
			}
		}
		if copies := 3 * (res.Rows() - failed); groups < 6 || groups > copies/3 {
			t.Errorf("%d groups were sent for %d copies of rows", groups, copies)
		}
	})
}

// TestRetryWithNewerCatalog: a replica refuses the coordinator's version, the
// coordinator catches up and writes to the new replicas.
func TestRetryWithNewerCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cl *cluster
		old := testView(t, 3, 3, 1)
		next := testView(t, 3, 3, 9)
		asked := 0
		cl = newCluster(t, 3, 3, func(cfg *Config, env *Env) {
			env.CatchUp = func(ctx context.Context, from ring.NodeID, version uint64) error {
				asked++
				if version != 9 {
					return fmt.Errorf("version %d asked for", version)
				}
				cl.adopt(next)
				for _, n := range cl.nodes {
					n.behave(func(n *node) { n.refuses = nil })
				}
				return nil
			}
		})
		stale := func() {
			cl.adopt(old)
			for _, n := range cl.nodes {
				n.behave(func(n *node) { n.refuses = &transport.Verdict{Code: transport.StaleCatalog, Version: 9} })
			}
		}
		stale()
		res, err := cl.nodes[0].write(t, WriteOptions{Level: All, Receipt: true}, func(w *Write) { put(t, w, "p", 1, "v") })
		if err = errors.Join(err, resErr(res)); err != nil {
			t.Fatal(err)
		}
		if got := res.Row(0).Receipt.Version; got != 9 {
			t.Errorf("receipt says version %d, want 9", got)
		}
		stale()
		if got, err := cl.nodes[1].read(t, All, "p"); err != nil || got[1] != "v" {
			t.Errorf("read %v, %v", got, err)
		}
		stale()
		scan, err := cl.nodes[2].coordinator.Scan(t.Context(), &ScanRequest{Table: old.Table(testTable), PartitionsOnly: true})
		if err != nil || len(scan.Partitions) != 1 {
			t.Errorf("scan: %v, %v", scan, err)
		}
		if asked < 3 {
			t.Errorf("caught up %d times, want at least 3", asked)
		}
	})
}

func TestFirstWriteSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cl *cluster
		var failure error
		seals := 0
		cl = newCluster(t, 3, 3, func(cfg *Config, env *Env) {
			env.Seal = func(context.Context) error {
				seals++
				time.Sleep(time.Millisecond)
				if failure == nil {
					v := *cl.current()
					v.Sealed = true
					cl.adopt(&v)
				}
				return failure
			}
		})
		open := *cl.current()
		open.Sealed = false
		cl.adopt(&open)
		failure = errors.New("replication factor 3 needs 3 members")
		var unsealable *UnsealableError
		if _, err := cl.nodes[0].coordinator.NewWrite(t.Context(), WriteOptions{}); !errors.As(err, &unsealable) || !errors.Is(err, failure) {
			t.Fatalf("error %v, want *UnsealableError", err)
		}
		failure = nil
		seals = 0
		errs := make(chan error)
		for i := range 10 {
			go func() {
				res, err := cl.nodes[0].write(t, WriteOptions{}, func(w *Write) { put(t, w, "p", i, "v") })
				errs <- errors.Join(err, resErr(res))
			}()
		}
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if seals != 1 {
			t.Errorf("sealed %d times", seals)
		}
		cl.adopt(nil)
		if _, err := cl.nodes[0].coordinator.NewWrite(t.Context(), WriteOptions{}); !errors.Is(err, ErrNoCatalog) {
			t.Errorf("without a catalog: %v", err)
		}
	})
}

func TestStamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, 1, nil)
		c := cl.nodes[0].coordinator
		now := hlc.FromTime(time.Now())
		session := now + 2_000_000 // 2 s ahead: within the skew
		w, err := c.NewWrite(t.Context(), WriteOptions{Session: session})
		if err != nil || w.Timestamp() <= session || w.Born() != w.Timestamp() {
			t.Errorf("timestamp %d, born %d, session %d: %v", w.Timestamp(), w.Born(), session, err)
		}
		put(t, w, "p", 1, "v")
		res, err := w.Commit(t.Context())
		if err != nil || res.Clock < w.Timestamp() {
			t.Errorf("session token %d below the timestamp %d: %v", res.Clock, w.Timestamp(), err)
		}
		w.Release()
		own := now - 1_000_000_000
		if w, err = c.NewWrite(t.Context(), WriteOptions{Timestamp: own}); err != nil || w.Timestamp() != own || w.Born() < now {
			t.Errorf("timestamp %d, born %d: %v", w.Timestamp(), w.Born(), err)
		}
		far := now + 3600_000_000
		for field, opts := range map[string]WriteOptions{"timestamp": {Timestamp: far}, "session": {Session: far}} {
			var skewed *SkewedError
			if _, err := c.NewWrite(t.Context(), opts); !errors.As(err, &skewed) || !skewed.Client || skewed.Field != field {
				t.Errorf("%s an hour ahead: %v", field, err)
			}
		}
		if _, err := c.Read(t.Context(), &ReadRequest{Table: cl.current().Table(testTable), Options: ReadOptions{Session: far}}); err == nil {
			t.Error("a read with a session an hour ahead is accepted")
		}
		c.env.Unfit = func() error { return errors.New("off by 9 s from most peers") }
		var skewed *SkewedError
		if _, err := c.NewWrite(t.Context(), WriteOptions{}); !errors.As(err, &skewed) || skewed.Client {
			t.Errorf("with a skewed clock: %v", err)
		}
	})
}

func TestAddRefuses(t *testing.T) {
	cl := newCluster(t, 1, 1, func(cfg *Config, env *Env) { cfg.RowBytes = 100 })
	w, err := cl.nodes[0].coordinator.NewWrite(t.Context(), WriteOptions{Level: Two})
	if err != nil {
		t.Fatal(err)
	}
	table := w.View().Table(testTable)
	windowed := &schema.TableView{
		Table: &schema.Table{ID: 101, Keyspace: "k", Name: "w"},
		Shape: record.Shape{Table: 101, Window: 24 * time.Hour, Clustering: []record.Component{{Kind: record.Timestamp}}},
	}
	var large *TooLargeError
	if _, err := w.Add(table, 0, make([]byte, 50), make([]byte, 51)); !errors.As(err, &large) || large.Bytes != 101 {
		t.Errorf("error %v, want *TooLargeError", err)
	}
	day := func(year int) []byte {
		millis := time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		suffix, err := windowed.Shape.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(millis)))
		if err != nil {
			t.Fatal(err)
		}
		return suffix
	}
	windowed.Floor, err = windowed.Shape.WindowOf(day(1990))
	if err != nil {
		t.Fatal(err)
	}
	for year, want := range map[int]bool{1989: true, 1990: false, 1991: false} {
		key, err := windowed.Shape.AppendRowKey(nil, token.Of([]byte("s")), []byte("s"), day(year))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Add(windowed, token.Of([]byte("s")), key, nil)
		var retired *RetiredError
		if errors.As(err, &retired) != want || want && retired.Floor.Year() != 1990 {
			t.Errorf("a row of %d, floor 1990: error %v", year, err)
		}
	}
	w.Release()
	w, err = cl.nodes[0].coordinator.NewWrite(t.Context(), WriteOptions{Level: Two})
	if err != nil {
		t.Fatal(err)
	}
	put(t, w, "p", 1, "v")
	res, err := w.Commit(t.Context())
	var level *LevelError
	if err != nil || !errors.As(res.Row(0).Err, &level) {
		t.Errorf("level two of one replica: %v, %v", err, res.Row(0).Err)
	}
}
