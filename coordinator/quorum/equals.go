package quorum

// Equals counts the replicas that are equal to what a read has merged, while a read
// repair brings it to those that lack some. Its caller guards it.
type Equals struct {
	need    int
	equal   int    // replicas that have all that was merged, from the page's beginning
	lacking int    // replicas that have not acknowledged everything
	open    []int  // by replica: groups without a verdict; negative: one failed
	counted []bool // by replica: it may be counted as equal
}

// NewEquals awaits need equal ones of so many replicas.
func NewEquals(need, replicas int) Equals {
	return Equals{need: need, open: make([]int, replicas), counted: make([]bool, replicas)}
}

// Has counts a replica that lacks nothing.
func (e *Equals) Has() { e.equal++ }

// Lacks says that a replica lacks so many groups, and whether it will be equal when
// it has acknowledged them: it may have answered less than the page.
func (e *Equals) Lacks(replica, groups int, counted bool) {
	e.lacking++
	e.open[replica], e.counted[replica] = groups, counted
}

// Hear counts a replica's verdict on one of its groups.
func (e *Equals) Hear(replica int, ok bool) {
	switch {
	case !ok:
		e.open[replica] = -1
	case e.open[replica] > 0:
		if e.open[replica]--; e.open[replica] == 0 {
			e.lacking--
			if e.counted[replica] {
				e.equal++
			}
		}
	}
}

// Enough reports whether a later read at the same level sees what this one
// answers: need replicas have all of it, or each that was merged has.
func (e *Equals) Enough() bool {
	return e.equal >= e.need || e.lacking == 0
}

// Decided reports whether further verdicts change nothing: there are enough, or none
// is awaited.
func (e *Equals) Decided() bool {
	if e.Enough() {
		return true
	}
	for _, n := range e.open {
		if n > 0 {
			return false
		}
	}
	return true
}

// Equal is how many replicas are equal by now.
func (e *Equals) Equal() int { return e.equal }
