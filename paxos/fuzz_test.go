package paxos

import "testing"

// FuzzAgreement goes deeper into the model than all of it can be walked: more ballots
// of either proposer, higher rounds, longer schedules. Two bytes are a step: who starts
// a ballot and how far above the last, or which request reaches which acceptor, and
// whether the answer is lost.
func FuzzAgreement(f *testing.F) {
	f.Add([]byte{0, 0, 4, 0, 4, 1, 5, 0, 5, 1})
	f.Add([]byte{0, 0, 1, 1, 4, 0, 4, 1, 12, 0, 12, 1, 5, 0, 13, 0, 0, 3, 20, 2})
	f.Fuzz(func(t *testing.T, steps []byte) {
		e := explorer{decided: map[string]int{}}
		m := &model{}
		for len(steps) >= 2 && len(m.runs) < 8 {
			what, how := steps[0], steps[1]
			steps = steps[2:]
			if what%8 < 2 || len(m.runs) == 0 {
				owner := int(what & 1)
				m = m.start(owner, m.lastRound(owner)+1+uint64(how%3))
				continue
			}
			phase := []Phase{Preparing, Accepting}[what&1]
			next := m.deliver(int(what/8)%len(m.runs), int(how%modelAcceptors), phase, how&0x80 != 0)
			if next == nil {
				continue
			}
			m = next
			if e.check(m); e.violation != "" {
				t.Fatal(e.violation)
			}
		}
	})
}

// lastRound is that of a proposer's last ballot.
func (m *model) lastRound(owner int) (last uint64) {
	for _, r := range m.runs {
		if r.owner == owner {
			last = r.proposer.ballot.Round
		}
	}
	return last
}
