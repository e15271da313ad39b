package balance

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Whatever the number of slots, latencies that are level up to it and rise beyond show
// it, to the next smaller size that is told apart.
func TestKneeIsFound(t *testing.T) {
	for _, c := range []float64{1, 2, 4, 8, 16} {
		rng := rand.New(rand.NewPCG(uint64(c), 1))
		var k knee
		const deviation = .8
		for range 4000 {
			n := 1 + float64(rng.IntN(int(3*c)))
			k.observe(n, math.Log(.1*max(1, n/c))+deviation*rng.NormFloat64(), deviation*deviation, c, 0, kneeEvery)
		}
		if k.c < c/2 || k.c > 1.5*c {
			t.Errorf("%v slots were taken for %v", c, k.c)
		}
	}
}

func TestKneeOfAnIdleServerIsSmall(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var k knee
	for range 200 {
		k.observe(1, rng.NormFloat64(), 1, 1, 0, kneeEvery)
	}
	if k.c != 1 {
		t.Errorf("a server that never had two requests is thought to have %v slots, want the safe 1", k.c)
	}
}

// Requests are counted up to the size that they are nearest to from below, or half a request beyond.
func TestWhichSizeACrowdIs(t *testing.T) {
	for n, want := range map[float64]float64{0: 1, 1: 1, 1.5: 1, 1.6: 2, 4: 4, 4.5: 4, 5: 6, 6.5: 6, 100: 128, 128: 128, 5000: 128} {
		if got := crowdSizes[crowdOf(n)]; got != want {
			t.Errorf("%v requests count as %v, want %v", n, got, want)
		}
	}
}

// told returns a knee that has exact samples: latencies are level up to c and rise beyond, or as rise says.
func told(rise func(n float64) float64, sizes ...float64) *knee {
	k := new(knee)
	for _, n := range sizes {
		i := crowdOf(n)
		k.weight[i] += 10
		k.sum[i] += float32(10 * math.Log(.1*rise(n)))
	}
	return k
}

func levelUpTo(c float64) func(float64) float64 {
	return func(n float64) float64 { return max(1, n/c) }
}

// Of exact latencies the slots are found exactly, whatever they are, and what was told is held against them.
func TestSlotsThatLatenciesTell(t *testing.T) {
	const variance = .01
	for _, c := range []float64{1, 2, 4, 8, 16, 32} {
		k := told(levelUpTo(c), 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
		k.solve(variance, c)
		if k.c != c || k.most != c || k.shown != 64 {
			t.Errorf("%v slots: %v to %v found, of up to %v requests; want exactly so many, and 64", c, k.c, k.most, k.shown)
		}
		if !isNear(k.against, 0) && k.against > 1e-3 {
			t.Errorf("%v slots: %v variances are against so many", c, k.against)
		}
		if want := k.above(c); k.beyond != want {
			t.Errorf("%v slots: samples of weight %v are beyond, want %v", c, k.beyond, want)
		}
		if k.solve(variance, 4*c); k.against < kneeReject {
			t.Errorf("%v slots: only %v variances are against four times as many", c, k.against)
		}
		if k.solve(variance, 0); k.against != 0 {
			t.Errorf("%v slots: %v variances are against nothing told", c, k.against)
		}
	}
}

// Where latencies grow from the first request on, by some power of their number up to the slots, slots that were told fit all the same.
func TestToldSlotsMayGrowUpToThem(t *testing.T) {
	grow := func(n float64) float64 { return math.Pow(min(n, 8), .5) * max(1, n/8) }
	k := told(grow, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
	if k.solve(.01, 8); k.against > 0 {
		t.Errorf("%v variances are against the 8 slots that there are", k.against)
	}
}

// No more is known than was tried: a server that never had more than a few requests may have any more slots.
func TestWhatWasNeverTriedIsNotRejected(t *testing.T) {
	k := told(levelUpTo(100), 1, 2, 3, 4)
	k.solve(.01, 0)
	if k.c != 4 || k.most != crowdSizes[crowds-1] || k.beyond != 0 || k.shown != 4 {
		t.Errorf("level up to the 4 requests that there were: %+v, want 4 and any more", k.bend)
	}
	few := new(knee)
	few.weight[crowdOf(8)], few.weight[0] = kneeFew-1, kneeFew
	if few.solve(.01, 0); few.shown != 1 {
		t.Errorf("%v requests are shown by fewer samples than %v", few.shown, kneeFew)
	}
}

// Slots are worked out once in so many samples, which then count a little less: sooner where a limit is in question, and then they count as much as ever.
func TestSlotsAreWorkedOutNowAndThen(t *testing.T) {
	for _, every := range []int{kneeEvery, kneeSoon} {
		var k knee
		for i := 1; i <= 2*kneeEvery; i++ {
			if solved := k.observe(2, 0, .01, 4, 0, float64(every)); solved != (i%every == 0) {
				t.Fatalf("of %d, sample %d: worked out %t", every, i, solved)
			}
		}
		keep := math.Pow(kneeKeep, float64(every)/kneeEvery)
		want := 0.
		for range 2 * kneeEvery / every {
			want = (want + float64(every)) * keep
		}
		if math.Abs(float64(k.weight[1])-want) > .01 {
			t.Errorf("of %d: %d samples are of weight %v, want %v", every, 2*kneeEvery, k.weight[1], want)
		}
	}
}

func TestWhatLatenciesLeaveOpen(t *testing.T) {
	unheard, shown := &bend{}, &bend{c: 8, most: 16}
	for _, c := range []struct {
		name string
		k    *bend
		c    float64
		want bool
	}{
		{"nothing heard: one", unheard, kneeUnheard, true},
		{"nothing heard: two", unheard, 2, false},
		{"as found", shown, 8, true},
		{"a size fewer", shown, 8 / kneeStep, true},
		{"many fewer", shown, 5, false},
		{"the most, and a size more", shown, 24, true},
		{"more than that", shown, 24.1, false},
		{"not so many times more than was shown", &bend{c: 8, most: 128}, 8*kneeBeyond + .1, false},
		{"so many times more than was shown", &bend{c: 8, most: 128}, 8 * kneeBeyond, true},
	} {
		if got := c.k.allows(c.c); got != c.want {
			t.Errorf("%s: %v slots are allowed: %t, want %t", c.name, c.c, got, c.want)
		}
	}
}

func TestWhetherAServerMayGetMoreThanItsLimit(t *testing.T) {
	for _, c := range []struct {
		name     string
		k        knee
		limit, c float64
		want     bool
	}{
		{"nothing heard: up to half as many more", knee{}, 5.9, 4, true},
		{"nothing heard: half as many more", knee{}, 6, 4, false},
		{"nothing heard, one slot: one more", knee{}, 1.9, 1, true},
		{"nothing heard, one slot: two", knee{}, 2, 1, false},
		{"latencies leave it open", knee{bend: bend{c: 4, most: 8}}, 5, 4, true},
		{"latencies rule it out", knee{bend: bend{c: 4, most: 4}}, 5, 4, false},
		{"more than can be told apart", knee{bend: bend{c: 4, most: 128}}, 130, 120, true},
		{"it has had more already", knee{bend: bend{c: 4, most: 16}, shown: 8}, 11.9, 4, true},
		{"it has not had so many", knee{bend: bend{c: 4, most: 16}, shown: 8}, 12, 4, false},
	} {
		if got := c.k.leavesOpen(c.limit, c.c); got != c.want {
			t.Errorf("%s: limit %v at %v slots: %t, want %t", c.name, c.limit, c.c, got, c.want)
		}
	}
}

func TestWhenToldSlotsAreRefuted(t *testing.T) {
	found := bend{c: 4, most: 4}
	for _, c := range []struct {
		name    string
		bend    bend
		against float64
		told    float64
		before  bool
		want    bool
	}{
		{"nothing heard", bend{}, 100, 40, false, false},
		{"far more", found, kneeReject + 1, 40, false, true},
		{"far more, but it fits", found, kneeReject, 40, false, false},
		{"far fewer", bend{c: 8, most: 8}, kneeReject + 1, 1, false, true},
		{"fewer, by one or two", bend{c: 2.9, most: 3}, kneeReject + 1, 1, false, false},
		{"fewer by less than a size", bend{c: 8, most: 8}, kneeReject + 1, 6, false, false},
		{"not so much more", found, kneeReject + 1, 4 * kneeBeyond * refuteSlack, false, false},
		{"a little more than that", found, kneeReject + 1, 4*kneeBeyond*refuteSlack + .1, false, true},
		{"what was ruled out stays so", found, kneeReject + 1, 4*kneeBeyond + .1, true, true},
		{"also by less", found, kneeReject/2 + .1, 40, true, true},
		{"until little is against it", found, kneeReject / 2, 40, true, false},
		{"latencies leave as many open", bend{c: 4, most: 32}, kneeReject + 1, 60, false, false},
	} {
		k := knee{bend: c.bend, against: c.against}
		if got := k.refutes(c.told, c.before); got != c.want {
			t.Errorf("%s: %v told where %v to %v are found: refuted %t, want %t", c.name, c.told, c.bend.c, c.bend.most, got, c.want)
		}
	}
}

// Where a server has hardly had more requests than c it is taken to have as many slots as others, as far as that is open.
func TestAServerOfFewRequestsIsTakenToBeAsOthers(t *testing.T) {
	for _, c := range []struct {
		bend  bend
		usual float64
		want  float64
	}{
		{bend{c: 2, most: 128, beyond: kneeShown}, 8, 2},
		{bend{c: 2, most: 128, beyond: kneeShown - 1}, 8, 8},
		{bend{c: 2, most: 4}, 8, 4},
		{bend{c: 16, most: 128}, 8, 16},
	} {
		if got := c.bend.guess(c.usual); got != c.want {
			t.Errorf("%+v where %v are usual: %v, want %v", c.bend, c.usual, got, c.want)
		}
	}
}
