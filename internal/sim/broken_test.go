package sim

// breakage is one rule of the engine, broken on purpose.
type breakage struct {
	name, rule string
	within     uint64  // seeds in which the simulator finds it; above 100 only with -deep
	patches    []patch // broken("name") is true in the build that has this break on
}

// patch replaces a text that occurs once in a file.
type patch struct{ file, old, new string }

const (
	apply   = "crdt/apply.go"
	entry   = "crdt/entry.go"
	counter = "crdt/counter.go"
	draft   = "crdt/draft.go"
)

// breaks are the breaks that the simulator must find.
var breaks = []breakage{
	{"deps", "an event waits for its dependencies", 10, []patch{
		{apply, `if v.Dominates(e.Deps) {`, `if v.Dominates(e.Deps) || broken("deps") {`},
	}},
	{"deps-taken", "it waits for all of them, not only for what it takes away", 60, []patch{
		{apply, `	for _, c := range e.Changes {
		if !h.At(`, `	if broken("deps-taken") {
		return takenAreHeard(h, e)
	}
	for _, c := range e.Changes {
		if !h.At(`},
		{apply, `// Ready returns nil`, `func takenAreHeard(h *Heard, e *Event) error {
	for _, c := range e.Changes {
		for _, d := range c.Removes {
			if !h.At(c.Field.Position()).Covers(d) {
				return ErrNotReady
			}
		}
	}
	for _, c := range e.Clears {
		for _, span := range h.Over(c.Object.Range()) {
			if !span.Vector.Dominates(c.UpTo) {
				return ErrNotReady
			}
		}
	}
	return nil
}

// Ready returns nil`},
	}},
	{"deps-ahead", "dependencies hold what a range ahead has heard", 60, []patch{
		{draft, `e.Deps.Join(d.heard.At(at))`, `if !broken("deps-ahead") {
				e.Deps.Join(d.heard.At(at))
			}`},
	}},
	{"gap", "an event waits for its actor's previous one", 10, []patch{
		{apply, `case e.Dot.Seq > have+1:`, `case e.Dot.Seq > have+1 && !broken("gap"):`},
	}},
	{"put-heard", "a put of what was heard and is gone stays gone", 60, []patch{
		{entry, `if heard.Covers(e.Dot) {`, `if heard.Covers(e.Dot) && !broken("put-heard") {`},
	}},
	{"put-overwrites", "a put joins the payload that is there", 20, []patch{
		{entry, `e.Payload = es[i].Payload.join(e.Payload)`, `if !broken("put-overwrites") {
			e.Payload = es[i].Payload.join(e.Payload)
		}`},
	}},
	{"pull-inserts", "a pull leaves out what was heard here and is gone", 20, []patch{
		{entry, `if !mineHeard.Covers(theirs[0].Dot) {`, `if broken("pull-inserts") || !mineHeard.Covers(theirs[0].Dot) {`},
	}},
	{"pull-keeps", "a pull removes what the peer has heard and removed", 20, []patch{
		{entry, `if !theirsHeard.Covers(mine[0].Dot) {`, `if broken("pull-keeps") || !theirsHeard.Covers(mine[0].Dot) {`},
	}},
	{"pull-overwrites", "a pull joins the payloads that both have", 60, []patch{
		{entry, `out = append(out, Entry{mine[0].Dot, mine[0].Payload.join(theirs[0].Payload)})`,
			`if joined := mine[0].Payload.join(theirs[0].Payload); broken("pull-overwrites") {
				out = append(out, theirs[0])
			} else {
				out = append(out, Entry{mine[0].Dot, joined})
			}`},
	}},
	{"pull-early", "only the range that was joined has heard what the peer had", 10, []patch{
		{apply, `h.Join(lo, hi, theirsHeard)`, `if broken("pull-early") {
		lo, hi = "", End
	}
	h.Join(lo, hi, theirsHeard)`},
	}},
	{"pull-deaf", "a range that was joined has heard what the peer had", 10, []patch{
		{apply, `h.Join(lo, hi, theirsHeard)`, `if !broken("pull-deaf") {
		h.Join(lo, hi, theirsHeard)
	}`},
	}},
	{"equal-deaf", "a range that is equal has heard what the peer had", 60, []patch{
		{"replica/pull.go", `c.heard.Join(p.Lo, p.Hi, p.Heard)`, `if !broken("equal-deaf") {
			c.heard.Join(p.Lo, p.Hi, p.Heard)
		}`},
	}},
	{"equal-stale", "whether a range is equal is asked in the step that joins", 1500, []patch{
		{"replica/pull.go", `case own == theirs:`, `case own == theirs || !p.Complete && broken("equal-stale"):`},
	}},
	{"heard-on-disk", "what ranges ahead have heard is on disk", 20, []patch{
		{"replica/shard.go", `heard.AppendTo(b)`, `func() []byte {
		if broken("heard-on-disk") {
			return crdt.NewHeard(heard.Vector().Clone()).AppendTo(b)
		}
		return heard.AppendTo(b)
	}()`},
	}},
	{"answer-least", "a peer answers what the range has heard, not what all have", 60, []patch{
		{"replica/source.go", `return s.heard.Over(lo, hi)`, `if broken("answer-least") {
		return []crdt.Span{{Start: lo, Vector: s.heard.Vector()}}
	}
	return s.heard.Over(lo, hi)`},
	}},
	{"ack-early", "a write is acknowledged when it is on disk", 10, []patch{
		{"replica/group.go", `	var err error
	if len(l.batch.Writes()) > 0 {`, `	for _, c := range g.order {
		for _, a := range c.answers {
			if broken("ack-early") {
				a.done(a.results, a.err)
			}
		}
		if broken("ack-early") {
			c.answers = nil
		}
	}
	var err error
	if len(l.batch.Writes()) > 0 {`},
	}},
	{"reuse-volatile", "a copy that may have lost commits goes on under a new actor", 20, []patch{
		{"replica/identity.go", `if found.Volatile || mine.Volatile || moved {`, `if (found.Volatile || mine.Volatile || moved) && !broken("reuse-volatile") {`},
	}},
	{"reuse-reverted", "a copy of which peers know more than itself becomes somebody new", 60, []patch{
		{"replica/group.go", `if c.actor == 0 || d.Actor != c.actor {`, `if c.actor == 0 || d.Actor != c.actor || broken("reuse-reverted") {`},
	}},
	{"collect-foreign", "only its owner removes a dead contribution", 60, []patch{
		{counter, `return ok && e.Dot.Actor == actor && c.Dead()`, `return ok && (e.Dot.Actor == actor || broken("collect-foreign")) && c.Dead()`},
	}},
	{"clear-counters", "a counter that is deleted is reset, not cleared", 10, []patch{
		{draft, `case o.Type == TypeCounter:
		return d.ResetCounter(o.Key)
	case`, `case o.Type == TypeCounter && !broken("clear-counters"):
		return d.ResetCounter(o.Key)
	case`},
		{entry, `return !contribution && upTo.Covers(e.Dot)`, `return (!contribution || broken("clear-counters")) && upTo.Covers(e.Dot)`},
	}},
	{"clear-concurrent", "a clear leaves concurrent adds", 20, []patch{
		{apply, `fields.SetField(at, es.cleared(c.UpTo))`, `fields.SetField(at, es.without(func(e Entry) bool { return broken("clear-concurrent") || takenByClear(e, c.UpTo) }))`},
	}},
	{"clear-beyond", "a clear reaches no further than what all ranges have heard", 60, []patch{
		{draft, `upTo := d.heard.Vector().Clone()
	lo, hi := o.Range()`, `upTo := d.heard.Vector().Clone()
	lo, hi := o.Range()
	for _, span := range d.heard.Over("", End) {
		if broken("clear-beyond") {
			upTo.Join(span.Vector)
		}
	}`},
	}},
	{"group-blind", "a removal takes what its own group has added", 10, []patch{
		{draft, `	d.set(f, nil)
	return true, nil`, `	if broken("group-blind") && f.now[0].Dot == d.dot {
		return true, nil
	}
	d.set(f, nil)
	return true, nil`},
	}},
	{"reset-total", "a reset takes what it saw, not what will come", 60, []patch{
		{counter, `c.ResetN, c.ResetTotal = c.N, c.Total`, `c.ResetN, c.ResetTotal = c.N, c.Total
		if broken("reset-total") {
			c.Total, c.ResetTotal = 0, 0
		}`},
	}},
	{"register-time", "a write is later than all that its writer saw", 20, []patch{
		{"crdt/register.go", `if s, ok := e.Payload.(Sibling); ok && s.Time >= now {`, `if s, ok := e.Payload.(Sibling); ok && s.Time >= now && !broken("register-time") {`},
	}},
	{"session-waits", "an answer shows what its session has seen", 20, []patch{
		{"replica/replica.go", `if err := r.await(ctx, s, request); err != nil {`, `if err := r.await(ctx, s, request); err != nil && !broken("session-waits") {`},
	}},
	{"session-told", "an answer says all that it shows", 10, []patch{
		{"replica/session.go", `	eachSpan(heard, request, v.Join)
	return v`, `	if !broken("session-told") {
		eachSpan(heard, request, v.Join)
	}
	return v`},
	}},
	{"root-stale", "the root changes with the entries", 10, []patch{
		{"replica/change.go", `c.root = c.root.Sub(d.went).Add(d.came)`, `if !broken("root-stale") || d.went.Count == 0 {
			c.root = c.root.Sub(d.went).Add(d.came)
		}`},
	}},
	{"leaf-stale", "the digest of a leaf changes with its entries", 20, []patch{
		{"replica/change.go", `digest = digest.Sub(d.went).Add(d.came); digest`, `digest = digest.Sub(d.went).Add(d.came); broken("leaf-stale") && d.went.Count > 0 {
			continue
		} else if digest`},
	}},
	{"header-stale", "the number of live fields changes with the entries", 20, []patch{
		{"replica/change.go", `live[id.Object] += change`, `if !broken("header-stale") || change > 0 {
				live[id.Object] += change
			}`},
	}},
	{"log-end", "where the log ends, a walk begins", 30, []patch{
		{"antientropy/planner.go", `a.walk = o.LogEnded`, `a.walk = o.LogEnded && !broken("log-end")`},
	}},
	{"walk-near", "periodic walks go to far peers, too", 200, []patch{
		{"antientropy/planner.go", `kind == WalkPeriodic && p.walkedEarlier(now, a, shard)`, `kind == WalkPeriodic && !broken("walk-near") && p.walkedEarlier(now, a, shard)`},
	}},
}
