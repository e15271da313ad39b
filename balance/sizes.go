package balance

import "math"

// sizes learns what the size that a request tells says about the time that it takes: a regression of logarithms of times on those of
// sizes. It is one for the pool, but within servers, as large requests may go to fast ones: only differences to a server's own means
// count. Where sizes say nothing the exponent is zero, and all requests are alike; where they are rough it is less than one, as a
// very large size is then likely to be an overstatement. The zero value has learnt nothing.
type sizes struct {
	n          float64 // answers that it has learnt from, at most sizesMemory
	x          float64 // mean of the logarithms of sizes
	xx, xy, yy float64 // variances within servers of the logarithms of sizes and times, and their covariance

	most     float64                      // deviation of a logarithm from the mean that counts
	latest   struct{ size, work float64 } // what workOf returned last: a choice and its lease ask the same; zero: nothing since something was learnt
	told     bool                         // sizes have said something before
	exponent float64                      // zero: sizes say nothing
	mean     float64                      // the mean time of a size over the one that half of them stay under
	works    float64                      // requests that counted for work, at most sizesMemory
	work     float64                      // their mean work
}

// sized is what a server's requests with a size had on average.
type sized struct{ n, x, y float64 } // how many, at most sizedMemory, and the logarithms of their sizes and times

const (
	sizesMemory   = 2000. // answers
	sizedMemory   = 100.  // answers of one server
	sizesEnough   = 30.   // answers before which sizes are not believed
	sizesCrowded  = 300.  // answers up to which also those of crowded servers count
	sizesErrors   = 3.    // standard errors that chance is taken to have made of the covariance
	sizesMost     = 2.    // exponent
	leastSpread   = 1e-4  // variance of the logarithms of sizes: with less all are alike
	mostDeviation = 5.    // standard deviations beyond which a size counts as that far from the mean
)

// size returns a request's, zero for one that says nothing that can be calculated with.
func (r *Request) size() float64 {
	if r.Size > 0 && r.Size <= MaxSize {
		return r.Size
	}
	return 0
}

// log returns the logarithm of a size, within what sizes may be.
func (z *sizes) log(size float64) float64 {
	return z.x + min(max(roughLog(size)-z.x, -z.most), z.most)
}

// observe takes the logarithm of a time of a request with that size, and what its server's requests had.
func (z *sizes) observe(size, time float64, at *sized) {
	x := math.Log(size)
	if z.n >= sizesEnough {
		x = z.log(size)
	}
	z.n, at.n = min(z.n+1, sizesMemory), min(at.n+1, sizedMemory)
	gain, own := 1/z.n, 1/at.n
	dx, dy := x-at.x, time-at.y
	at.x += own * dx
	at.y += own * dy
	z.x += gain * (x - z.x)
	z.xx += gain * ((1-own)*dx*dx - z.xx)
	z.xy += gain * ((1-own)*dx*dy - z.xy)
	z.yy += gain * ((1-own)*dy*dy - z.yy)
	z.conclude()
}

// conclude works out the exponent, and how far times are spread whose size is known.
func (z *sizes) conclude() {
	z.exponent = 0
	if z.n >= sizesEnough && z.xx > leastSpread && z.xy*z.xy > sizesErrors*sizesErrors*z.xx*z.yy/z.n {
		z.exponent = min(max(0, z.xy/z.xx), sizesMost)
	}
	z.most = mostDeviation * math.Sqrt(z.xx)
	z.latest.size = 0
	noise := z.yy - z.exponent*(2*z.xy-z.exponent*z.xx)
	z.mean = math.Exp(max(0, noise) / 2)
}

// tell reports whether sizes say something.
func (z *sizes) tell() bool { return z.exponent > 0 }

// off returns by how much the logarithm of the time of a request of that size is larger than usual; zero: its size is not told, or says nothing.
func (z *sizes) off(size float64) float64 {
	if z.exponent == 0 || size == 0 {
		return 0
	}
	return z.exponent * (z.log(size) - z.x)
}

// workOf returns the work that a request of that size is expected to be; zero stands for one that is not told.
func (z *sizes) workOf(size float64) float64 {
	if size == 0 || z.exponent == 0 {
		return z.meanWork()
	}
	if size != z.latest.size {
		z.latest.size, z.latest.work = size, roughExp(z.off(size))*z.mean
	}
	return z.latest.work
}

// counts enters the work of a request that told its size into the mean.
func (z *sizes) counts(work float64) {
	z.works = min(z.works+1, sizesMemory)
	z.work += (work - z.work) / z.works
}

// meanWork returns what a request is on average.
func (z *sizes) meanWork() float64 {
	if z.works == 0 {
		return 1
	}
	return z.work
}
