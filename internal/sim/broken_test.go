package sim

// breakage is one rule of the engine, broken on purpose.
type breakage struct {
	name, rule string
	within     uint64   // seeds in which the simulator finds it; above 100 only with -deep
	patches    []patch  // broken("name") is true in the build that has this break on
	flags      []string // of the simulator, on top of -rot=0 and -placed=0
}

var (
	rotting = []string{"-rot=1"}
	exactly = []string{"-exact=1"}
	placing = []string{"-placed=1"}
)

// patch replaces a text that occurs once in a file.
type patch struct{ file, old, new string }

const (
	apply   = "crdt/apply.go"
	entry   = "crdt/entry.go"
	counter = "crdt/counter.go"
	draft   = "crdt/draft.go"

	operation = "crdt/operation.go"
)

// breaks are the breaks that the simulator must find.
var breaks = []breakage{
	{"deps", "an event waits for its dependencies", 10, []patch{
		{apply, `if v.Dominates(e.Deps) {`, `if v.Dominates(e.Deps) || broken("deps") {`},
	}, nil},
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
	}, nil},
	{"deps-ahead", "dependencies hold what a range ahead has heard", 60, []patch{
		{draft, `e.Deps.Join(d.heard.At(at))`, `if !broken("deps-ahead") {
				e.Deps.Join(d.heard.At(at))
			}`},
	}, nil},
	{"gap", "an event waits for its actor's previous one", 10, []patch{
		{apply, `case e.Dot.Seq > have+1:`, `case e.Dot.Seq > have+1 && !broken("gap"):`},
	}, nil},
	{"put-heard", "a put of what was heard and is gone stays gone", 60, []patch{
		{entry, `if heard.Covers(e.Dot) {`, `if heard.Covers(e.Dot) && !broken("put-heard") {`},
	}, nil},
	{"put-overwrites", "a put joins the payload that is there", 20, []patch{
		{entry, `e.Payload = es[i].Payload.join(e.Payload)`, `if !broken("put-overwrites") {
			e.Payload = es[i].Payload.join(e.Payload)
		}`},
	}, nil},
	{"pull-inserts", "a pull leaves out what was heard here and is gone", 20, []patch{
		{entry, `if !mineHeard.Covers(theirs[0].Dot) {`, `if broken("pull-inserts") || !mineHeard.Covers(theirs[0].Dot) {`},
	}, nil},
	{"pull-keeps", "a pull removes what the peer has heard and removed", 20, []patch{
		{entry, `if !theirsHeard.Covers(mine[0].Dot) {`, `if broken("pull-keeps") || !theirsHeard.Covers(mine[0].Dot) {`},
	}, nil},
	{"pull-overwrites", "a pull joins the payloads that both have", 60, []patch{
		{entry, `out = append(out, Entry{mine[0].Dot, mine[0].Payload.join(theirs[0].Payload)})`,
			`if joined := mine[0].Payload.join(theirs[0].Payload); broken("pull-overwrites") {
				out = append(out, theirs[0])
			} else {
				out = append(out, Entry{mine[0].Dot, joined})
			}`},
	}, nil},
	{"pull-early", "only the range that was joined has heard what the peer had", 10, []patch{
		{apply, `h.Join(lo, hi, theirsHeard)`, `if broken("pull-early") {
		lo, hi = "", End
	}
	h.Join(lo, hi, theirsHeard)`},
	}, nil},
	{"pull-deaf", "a range that was joined has heard what the peer had", 10, []patch{
		{apply, `h.Join(lo, hi, theirsHeard)`, `if !broken("pull-deaf") {
		h.Join(lo, hi, theirsHeard)
	}`},
	}, nil},
	{"equal-deaf", "a range that is equal has heard what the peer had", 60, []patch{
		{"replica/pull.go", `c.heard.Join(p.Lo, p.Hi, p.Heard)`, `if !broken("equal-deaf") {
			c.heard.Join(p.Lo, p.Hi, p.Heard)
		}`},
	}, nil},
	{"equal-stale", "whether a range is equal is asked in the step that joins", 1500, []patch{
		{"replica/pull.go", `case own == theirs:`, `case own == theirs || !p.Complete && broken("equal-stale"):`},
	}, nil},
	{"heard-on-disk", "what ranges ahead have heard is on disk", 20, []patch{
		{"replica/shard.go", `heard.AppendTo(b)`, `func() []byte {
		if broken("heard-on-disk") {
			return crdt.NewHeard(heard.Vector().Clone()).AppendTo(b)
		}
		return heard.AppendTo(b)
	}()`},
	}, nil},
	{"answer-least", "a peer answers what the range has heard, not what all have", 60, []patch{
		{"replica/source.go", `return s.heard.Over(lo, hi)`, `if broken("answer-least") {
		return []crdt.Span{{Start: lo, Vector: s.heard.Vector()}}
	}
	return s.heard.Over(lo, hi)`},
	}, nil},
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
	}, nil},
	{"reuse-volatile", "a copy that may have lost commits goes on under a new actor", 20, []patch{
		{"replica/identity.go", `if found.Volatile || mine.Volatile || moved {`, `if (found.Volatile || mine.Volatile || moved) && !broken("reuse-volatile") {`},
	}, nil},
	{"reuse-failed", "a commit that failed is repeated before its actor goes on", 60, []patch{
		{"replica/doubt.go", `return err != nil && !slices`, `return err != nil && !broken("reuse-failed") && !broken("build-on-failed") && !slices`},
	}, nil},
	{"build-on-failed", "it is repeated before a new actor begins, too", 60, []patch{
		{"replica/group.go", `	l.reload(s)
`, `	l.reload(s)
	if broken("build-on-failed") && c.wrote {
		s.actor = 0
	}
`},
	}, nil},
	{"reuse-reverted", "a copy of which peers know more than itself becomes somebody new", 100, []patch{
		{"replica/group.go", `if c.actor == 0 || d.Actor != c.actor {`, `if c.actor == 0 || d.Actor != c.actor || broken("reuse-reverted") {`},
	}, nil},
	{"collect-foreign", "only its owner removes a dead contribution", 60, []patch{
		{counter, `return ok && e.Dot.Actor == actor && c.Dead()`, `return ok && (e.Dot.Actor == actor || broken("collect-foreign")) && c.Dead()`},
	}, nil},
	{"clear-counters", "a counter that is deleted is reset, not cleared", 10, []patch{
		{draft, `case o.Type == TypeCounter:
		return d.ResetCounter(o.Key)
	case`, `case o.Type == TypeCounter && !broken("clear-counters"):
		return d.ResetCounter(o.Key)
	case`},
		{entry, `return !contribution && upTo.Covers(e.Dot)`, `return (!contribution || broken("clear-counters")) && upTo.Covers(e.Dot)`},
	}, nil},
	{"clear-concurrent", "a clear leaves concurrent adds", 20, []patch{
		{apply, `fields.SetField(at, es.cleared(c.UpTo))`, `fields.SetField(at, es.without(func(e Entry) bool { return broken("clear-concurrent") || takenByClear(e, c.UpTo) }))`},
	}, nil},
	{"clear-beyond", "a clear reaches no further than what all ranges have heard", 60, []patch{
		{draft, `upTo := d.heard.Vector().Clone()
	lo, hi := o.Range()`, `upTo := d.heard.Vector().Clone()
	lo, hi := o.Range()
	for _, span := range d.heard.Over("", End) {
		if broken("clear-beyond") {
			upTo.Join(span.Vector)
		}
	}`},
	}, nil},
	{"group-blind", "a removal takes what its own group has added", 10, []patch{
		{draft, `	d.set(f, nil)
	return true, nil`, `	if broken("group-blind") && f.now[0].Dot == d.dot {
		return true, nil
	}
	d.set(f, nil)
	return true, nil`},
	}, nil},
	{"reset-total", "a reset takes what it saw, not what will come", 60, []patch{
		{counter, `c.ResetN, c.ResetTotal, c.Corrections = c.N, c.Total, nil`, `c.ResetN, c.ResetTotal, c.Corrections = c.N, c.Total, nil
		if broken("reset-total") {
			c.Total, c.ResetTotal = 0, 0
		}`},
	}, nil},
	{"register-time", "a write is later than all that its writer saw", 20, []patch{
		{"crdt/register.go", `if s, ok := e.Payload.(Sibling); ok {`, `if s, ok := e.Payload.(Sibling); ok && !broken("register-time") {`},
	}, nil},
	{"session-waits", "an answer shows what its session has seen", 20, []patch{
		{"replica/replica.go", `if err := r.await(ctx, s, request); err != nil {`, `if err := r.await(ctx, s, request); err != nil && !broken("session-waits") {`},
	}, nil},
	{"read-early", "a read shows what it has waited for", 20, []patch{
		{"replica/replica.go", `func (r *Replica) serve(ctx context.Context, s *shard, request *proto.Request, writes int) (answer *proto.Answer, err error) {
`, `func (r *Replica) serve(ctx context.Context, s *shard, request *proto.Request, writes int) (answer *proto.Answer, err error) {
	early := &proto.Answer{Results: make([]*proto.Result, len(request.GetOperations()))}
	if broken("read-early") && writes == 0 && r.read(s.index, request, early) == nil {
		defer func() {
			if err == nil {
				answer.Results = early.Results
			}
		}()
	}
`},
	}, nil},
	{"remove-lost", "what is acknowledged to be removed is not there any more", 20, []patch{
		{"crdt/draft.go", `	d.set(f, nil)
	return true, nil
`, `	if !broken("remove-lost") || len(f.now) < 2 {
		d.set(f, nil)
	}
	return true, nil
`},
	}, nil},
	{"session-told", "an answer says all that it shows", 10, []patch{
		{"replica/session.go", `	eachSpan(heard, request, v.Join)
	return v`, `	if !broken("session-told") {
		eachSpan(heard, request, v.Join)
	}
	return v`},
	}, nil},
	{"root-stale", "the root changes with the entries", 10, []patch{
		{"replica/change.go", `c.root = c.root.Sub(d.went).Add(d.came)`, `if !broken("root-stale") || d.went.Count == 0 {
			c.root = c.root.Sub(d.went).Add(d.came)
		}`},
	}, nil},
	{"leaf-stale", "the digest of a leaf changes with its entries", 20, []patch{
		{"replica/change.go", `digest = digest.Sub(d.went).Add(d.came); digest`, `digest = digest.Sub(d.went).Add(d.came); broken("leaf-stale") && d.went.Count > 0 {
			continue
		} else if digest`},
	}, nil},
	{"header-stale", "the number of live fields changes with the entries", 20, []patch{
		{"replica/change.go", `live[id.Object] += change`, `if !broken("header-stale") || change > 0 {
				live[id.Object] += change
			}`},
	}, nil},
	{"log-end", "where the log ends, a walk begins", 30, []patch{
		{"antientropy/planner.go", `a.walk = e.LogEnded`, `a.walk = e.LogEnded && !broken("log-end")`},
	}, nil},
	{"walk-near", "periodic walks go to far peers, too", 200, []patch{
		{"antientropy/planner.go", `kind == WalkPeriodic && p.walkedEarlier(now, a, shard)`, `kind == WalkPeriodic && !broken("walk-near") && p.walkedEarlier(now, a, shard)`},
	}, nil},
	{"quorum-write", "a write at quorum is acknowledged when a quorum has it", 60, []patch{
		{"replica/consistency.go", `	if _, _, err := r.gather(ctx, s, level, request, answer.GetVector()); err != nil {`, `	if broken("quorum-write") {
		return answer, nil
	}
	if _, _, err := r.gather(ctx, s, level, request, answer.GetVector()); err != nil {`},
	}, nil},
	{"quorum-read", "a read at quorum asks a quorum", 60, []patch{
		{"replica/consistency.go", `		if err := joinEncoded(seen, local.GetAfter()); err != nil {`, `		if broken("quorum-read") {
			seen = crdt.VersionVector{}
		}
		if err := joinEncoded(seen, local.GetAfter()); err != nil {`},
	}, nil},
	{"quorum-few", "a quorum is more than half", 60, []patch{
		{"replica/quorum.go", `func majority(owners []string) int { return len(owners)/2 + 1 }`, `func majority(owners []string) int {
	if broken("quorum-few") {
		return (len(owners) + 1) / 2
	}
	return len(owners)/2 + 1
}`},
	}, nil},
	{"quorum-heard", "an owner answers when it has heard what it is asked about", 60, []patch{
		{"replica/consistency.go", `	request := &pb.Request{After: h.GetVector()}`, `	request := &pb.Request{After: h.GetVector()}
	if broken("quorum-heard") {
		request.After = nil
	}`},
	}, nil},
	{"rot-heard", "a damaged leaf that was replaced has heard what its replacement had", 30, []patch{
		{"replica/forget.go", `c.heard.Forget(p.Lo, p.Hi)`, `if !broken("rot-heard") {
		c.heard.Forget(p.Lo, p.Hi)
	}`},
	}, rotting},
	{"rot-uncovered", "a damaged leaf gives way to what a peer has only if nothing that was heard of it is lost by that", 60, []patch{
		{"replica/forget.go", `for _, span := range s.heard.Over(p.Lo, p.Hi) {`, `for _, span := range s.heard.Over(p.Lo, p.Hi) {
		if broken("rot-uncovered") {
			break
		}`},
	}, rotting},
	{"rot-unplayed", "the log makes up for what a damaged leaf had heard, and its replacement had not", 60, []patch{
		{"replica/forget.go", `r.setAhead(s, true)`, `if !broken("rot-unplayed") {
				r.setAhead(s, true)
			}`},
	}, rotting},
	{"rot-served", "a member compares a leaf with its digest before it tells anybody what is in it", 60, []patch{
		{"replica/source.go", `vouch := func(leaf int) error { return r.vouch(snap, s, leaf) }`, `vouch := func(leaf int) error {
		if broken("rot-served") {
			return nil
		}
		return r.vouch(snap, s, leaf)
	}`},
	}, rotting},
	{"seal-unread", "the checksum of a field is compared when it is read for a change", 60, []patch{
		{"replica/change.go", `es, err := readField(c.group.snap, c.shard.index, at)`, `es, err := readField(c.group.snap, c.shard.index, at)
	if broken("seal-unread") && errors.Is(err, store.ErrCorrupt) {
		es, err = readUnsealed(c.group.snap, c.shard.index, at)
	}`},
		{"replica/change.go", `// readField returns`, `func readUnsealed(snap store.Snapshot, shard int, at crdt.Position) (crdt.Entries, error) {
	value, err := snap.Get(entryKey(shard, at))
	if err != nil {
		return nil, err
	}
	id, err := at.FieldID()
	if err != nil {
		return nil, err
	}
	return crdt.DecodeEntries(id.Type, value[:len(value)-sealBytes])
}

// readField returns`},
	}, rotting},
	{"rot-built", "nothing is built on entries that were never heard of", 30, []patch{
		{"replica/change.go", `if !heard.Covers(last) {`, `if !heard.Covers(last) && !broken("rot-built") {`},
	}, rotting},
	{"once-record", "what was counted under an id is recorded in the same event", 10, []patch{
		{operation, `	d.set(records, records.now.with(Entry{d.dot, record}))
	return value, nil`, `	if !broken("once-record") {
		d.set(records, records.now.with(Entry{d.dot, record}))
	}
	return value, nil`},
	}, nil},
	{"once-again", "what is taken back is taken back in the event that removes its record", 20, []patch{
		{operation, `	d.set(records, records.now.without(func(e Entry) bool { return e.Dot == own.Dot }))`, `	if !broken("once-again") || d.dot.Seq%2 > 0 { // as if a crash came between
		d.set(records, records.now.without(func(e Entry) bool { return e.Dot == own.Dot }))
	}`},
	}, nil},
	{"once-first", "which of two stands depends on their dots, not on who hears first", 20, []patch{
		{operation, `e.Dot != d.dot && stands {`, `e.Dot != d.dot && (stands || broken("once-first") && len(records) > 1) {`},
		{"replica/operation.go", `slices.ContainsFunc(es[1:], func(e crdt.Entry) bool { return e.Dot.Actor == c.actor })`, `slices.ContainsFunc(es, func(e crdt.Entry) bool {
		return e.Dot.Actor == c.actor && (e.Dot != es[0].Dot || broken("once-first"))
	})`},
	}, nil},
	{"once-crash", "it is taken back in the batch that hears of the other", 60, []patch{
		{"replica/group.go", `len(c.crowded) > 0 || c.hasSurplus())`, `len(c.crowded) > 0 || c.hasSurplus() && !broken("once-crash"))`},
	}, nil},
	{"once-correction", "a reset that has seen an increment, and not that it was taken back, is made up for", 60, []patch{
		{"crdt/correction.go", `return k.From <= resetN && resetN < k.At`, `return k.From <= resetN && resetN < k.At && !broken("once-correction")`},
	}, nil},
	{"once-unsettled", "what may have to be taken back is kept in mind until the counter has heard", 30, []patch{
		{"replica/group.go", `c.shard.unsettled = c.unsettled`, `if !broken("once-unsettled") {
				c.shard.unsettled = c.unsettled
			}`},
	}, nil},
	{"linear-first", "a linearizable write asks a quorum first", 300, []patch{
		{"replica/consistency.go", `|| level == pb.Consistency_LINEARIZABLE {`, `|| level == pb.Consistency_LINEARIZABLE && !broken("linear-first") {`},
	}, exactly},
	{"linear-back", "a linearizable read ends when a quorum has heard what it shows", 500, []patch{
		{"replica/consistency.go", `(level != pb.Consistency_LINEARIZABLE || common`, `(level != pb.Consistency_LINEARIZABLE || broken("linear-back") || common`},
	}, exactly},
	{"leave-early", "a copy is removed when every owner has heard what it has", 150, []patch{
		{"replica/handover.go", `!a.complete || !includes(a.ranges, mine):`, `!a.complete || !includes(a.ranges, mine) && !broken("leave-early"):`},
	}, placing},
	{"leave-actor", "a copy that comes back is somebody new", 20, []patch{
		{"replica/copies.go", `	s.set(0, crdt.NewHeard(nil), merkle.Digest{})`, `	s.set(map[bool]crdt.Actor{true: s.actor}[broken("leave-actor")], crdt.NewHeard(nil), merkle.Digest{})`},
	}, placing},
	// A member that gains a shard is held back by join-unheard as well: this alone does
	// harm where an owner has lost its disk, and nothing else keeps it from counting.
	{"join-early", "an owner that has lost its copy counts when it has taken it over", 150, []patch{
		{"replica/arrange.go", `			if err := r.catchUp(l, s); err != nil {`, `			if err := r.catchUp(l, s); err != nil && !broken("join-early") {`},
	}, placing},
	{"join-unheard", "who becomes an owner hears what the owners have acknowledged meanwhile", 150, []patch{
		{"replica/arrange.go", `caught, err := r.each(coming, func(s *shard) error { return r.catchUp(l, s) })`, `caught, err := r.each(coming, func(s *shard) error {
			if broken("join-unheard") {
				return nil
			}
			return r.catchUp(l, s)
		})`},
	}, placing},
	{"stay-unheard", "who stays an owner does so, too, if others go", 150, []patch{
		{"replica/layout.go", `(gains || in.next != nil`, `(gains || !broken("stay-unheard") && in.next != nil`},
	}, placing},
}

// panics are panics of the engine, each of which must tell how it is replayed.
var panics = []breakage{
	{"panic-handler", "it meets whoever sent a request", 1, []patch{
		{"replica/serve.go", `return r.answer(ctx, m, r.Do)`, `if broken("panic-handler") {
		panic("as the test wants")
	}
	return r.answer(ctx, m, r.Do)`},
	}, nil},
	{"panic-goroutine", "nobody is there to catch it", 1, []patch{
		{"replica/loop.go", `for tasks := l.take(); tasks != nil; tasks = l.take() {`, `for tasks := l.take(); tasks != nil; tasks = l.take() {
		if broken("panic-goroutine") {
			panic("as the test wants")
		}`},
	}, nil},
}
