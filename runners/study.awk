# Tables of runners/study.sh from its rows (dataset,recipe,arm,seed,round,macs,parameters,training_macs,top1):
# means with standard errors, then energy − each other arm in the last round, paired by seed, with
# 95 % intervals (Student's t) and what Holm's correction over these contrasts calls resolved.
BEGIN { FS = ","; pi = atan2(0, -1) }
NR == 1 { next }
{
  family = $1 "," $2; arm = family "," $3; key = arm "," $5
  if (!(family in last)) { families[++n_families] = family; last[family] = 0 }
  if (!(arm in known)) { known[arm] = 1; arms[family] = arms[family] " " $3 }
  if ($5 > last[family]) last[family] = $5
  n[key]++; macs[key] += $6; parameters[key] += $7; cost[key] += $8
  values[key] = values[key] " " 100 * $9
  top1[key "," $4] = 100 * $9; seeds[$4] = 1
}
function mean_and_error(list, count,    x, i) {
  split(list, x, " "); mean = 0; error = 0
  for (i = 1; i <= count; i++) mean += x[i] / count
  for (i = 1; i <= count; i++) error += (x[i] - mean) ^ 2
  error = count > 1 ? sqrt(error / (count - 1) / count) : 0
}
# Two-sided p of Student's t with f degrees of freedom: Simpson's rule over its density
function p_of(t, f,    c, g, i, h, x, sum, steps) {
  c = f % 2 ? 1 / pi : 1 / (2 * sqrt(2))
  for (g = f % 2 ? 1 : 2; g < f; g += 2) c *= (g + 1) / g * sqrt(g / (g + 2))
  steps = 2000; h = t / steps; sum = 0
  for (i = 0; i <= steps; i++) { x = i * h; sum += (i == 0 || i == steps ? 1 : i % 2 ? 4 : 2) * exp(-(f + 1) / 2 * log(1 + x * x / f)) }
  return 1 - 2 * c * sum * h / 3
}
function t_of(p, f,    low, high, i) {  # p_of's inverse
  low = 0; high = 20
  while (p_of(high, f) > p) high *= 2
  for (i = 0; i < 60; i++) if (p_of((low + high) / 2, f) > p) low = (low + high) / 2; else high = (low + high) / 2
  return low
}
END {
  for (f = 1; f <= n_families; f++) {
    family = families[f]; split(arms[family], list, " "); title = family; sub(",", ", ", title)
    print (f > 1 ? "\n" : "") title "\n\n| arm | round | runs | M MACs | parameters | T training MACs | top-1 %, mean ± standard error |\n|---|---|---|---|---|---|---|"
    for (i = 1; i in list; i++) for (r = 0; r <= last[family]; r++) {
      key = family "," list[i] "," r
      if (!(key in n)) continue
      mean_and_error(values[key], n[key])
      printf "| %s | %d | %d | %.3f | %.0f | %.2f | %.2f%s |\n", list[i], r, n[key], macs[key] / n[key] / 1e6, parameters[key] / n[key], cost[key] / n[key] / 1e12, mean, (n[key] > 1 ? sprintf(" ± %.2f", error) : "")
    }
    contrasts = 0
    for (i = 1; i in list; i++) {
      pairs = ""; m = 0
      for (s in seeds) {
        a = family ",energy," last[family] "," s; b = family "," list[i] "," last[family] "," s
        if (list[i] != "energy" && (a in top1) && (b in top1)) { m++; pairs = pairs " " (top1[a] - top1[b]) }
      }
      if (m < 2) continue
      mean_and_error(pairs, m); contrasts++
      name[contrasts] = list[i]; count[contrasts] = m; difference[contrasts] = mean; half[contrasts] = t_of(0.05, m - 1) * error
      p[contrasts] = error > 0 ? p_of((mean < 0 ? -mean : mean) / error, m - 1) : (mean == 0)
    }
    if (!contrasts) continue
    # Holm: the k-th least p times the contrasts that are left, never less than the one before
    split("", adjusted); before = 0
    for (k = 0; k < contrasts; k++) {
      least = 0
      for (i = 1; i <= contrasts; i++) if (!(i in adjusted) && (!least || p[i] < p[least])) least = i
      adjusted[least] = p[least] * (contrasts - k); if (adjusted[least] < before) adjusted[least] = before
      if (adjusted[least] > 1) adjusted[least] = 1
      before = adjusted[least]
    }
    print "\n| contrast, paired by seed | pairs | mean difference in points | 95 % interval | p, Holm | |\n|---|---|---|---|---|---|"
    for (i = 1; i <= contrasts; i++)
      printf "| energy − %s | %d | %+.2f | %+.2f … %+.2f | %.3f | %s |\n", name[i], count[i], difference[i], difference[i] - half[i], difference[i] + half[i], adjusted[i], (adjusted[i] < 0.05 ? "resolved" : "not resolved")
  }
}
