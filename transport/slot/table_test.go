package slot

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelled is a request as a simple model keeps it.
type modelled struct {
	id       uint32
	start    int64
	deadline int64
	bytes    int
	owner    int
	open     bool
}

// TestTableAgainstModel drives a table and a plain list by the same steps.
func TestTableAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit, bytesLimit = 6, 100
		table := New[int](limit, bytesLimit)
		var model []modelled // oldest first
		var past []uint32    // ids that were answered
		now, owner := int64(1), 0
		find := func(id uint32) int { return slices.IndexFunc(model, func(m modelled) bool { return m.id == id }) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				now += rapid.Int64Range(0, 5).Draw(t, "pass")
				owner++
				m := modelled{
					start: now, deadline: now + rapid.Int64Range(1, 20).Draw(t, "budget"),
					bytes: rapid.IntRange(1, 40).Draw(t, "bytes"), owner: owner, open: true,
				}
				sum := m.bytes
				for _, o := range model {
					sum += o.bytes
				}
				var ok bool
				m.id, ok = table.Add(m.start, m.deadline, m.bytes, 3, m.owner)
				if want := len(model) < limit && sum <= bytesLimit; ok != want {
					t.Fatalf("added: %v, want %v", ok, want)
				}
				if !ok {
					return
				}
				if find(m.id) >= 0 || slices.Contains(past, m.id) || Index(m.id) >= limit {
					t.Fatalf("id %#x was given before, or is beyond the limit", m.id)
				}
				model = append(model, m)
			},
			"answer": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing is unanswered")
				}
				i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
				m := model[i]
				e, known := table.Get(m.id)
				if !known || e.Start != m.start || e.Kind != 3 || (e.State == Open) != m.open || m.open && e.Owner != m.owner || !m.open && e.Owner != 0 {
					t.Fatalf("slot %+v, model %+v", e, m)
				}
				table.Release(m.id)
				model = slices.Delete(model, i, i+1)
				past = append(past, m.id)
			},
			"repeated answer": func(t *rapid.T) {
				if len(past) == 0 {
					t.Skip("nothing was answered")
				}
				if _, known := table.Get(rapid.SampledFrom(past).Draw(t, "id")); known {
					t.Fatal("an id that was answered is known")
				}
			},
			"abandon": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing is unanswered")
				}
				m := &model[rapid.IntRange(0, len(model)-1).Draw(t, "which")]
				table.Abandon(m.id)
				m.open = false
			},
			"expire": func(t *rapid.T) {
				now += rapid.Int64Range(0, 10).Draw(t, "pass")
				var want []int
				for i := range model {
					if m := &model[i]; m.open && m.deadline <= now {
						want = append(want, m.owner)
						m.open = false
					}
				}
				if got := table.Expire(now, nil); !slices.Equal(got, want) {
					t.Fatalf("expired %v, want %v", got, want)
				}
			},
			"clear": func(t *rapid.T) {
				var want []int
				for _, m := range model {
					if m.open {
						want = append(want, m.owner)
					}
					past = append(past, m.id)
				}
				if got := table.Clear(nil); !slices.Equal(got, want) {
					t.Fatalf("cleared %v, want %v", got, want)
				}
				model = nil
			},
			"": func(t *rapid.T) {
				open, bytes, oldest := 0, 0, int64(0)
				for i, m := range model {
					if m.open {
						open++
					}
					if i == 0 {
						oldest = m.start
					}
					bytes += m.bytes
				}
				if table.Used() != len(model) || table.Open() != open || table.Bytes() != bytes || table.OldestStart() != oldest {
					t.Fatalf("used %d open %d bytes %d oldest %d; want %d %d %d %d", table.Used(), table.Open(), table.Bytes(),
						table.OldestStart(), len(model), open, bytes, oldest)
				}
			},
		})
	})
}

func TestGenerationWrapsWithoutLeavingTheIndex(t *testing.T) {
	table := New[int](1, 1)
	for range 1<<(32-IndexBits) + 3 {
		id, ok := table.Add(1, 2, 1, 0, 1)
		if !ok || Index(id) != 0 {
			t.Fatalf("id %#x, %v", id, ok)
		}
		table.Release(id)
	}
}

func BenchmarkAddRelease(b *testing.B) {
	table := New[int](8192, 1<<30)
	b.ReportAllocs()
	for range b.N {
		id, _ := table.Add(1, 2, 300, 1, 7)
		if _, ok := table.Get(id); ok {
			table.Release(id)
		}
	}
}
