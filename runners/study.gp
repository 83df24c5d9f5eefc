# Plots of runners/study.sh: top-1 over MACs and over training cost, an arm a line, means with 95 %
# intervals over the seeds; and the channels of each layer that the arms ended with, means over the
# seeds. Wants rows and widths (files), dataset, recipe, out (a folder).
set datafile separator ","
set terminal svg size 760,480 font "sans-serif,13" background "white"
set grid lc rgb "#dddddd"
set border 3
set tics nomirror
set key outside right
set ylabel "top-1 on the test images, %"
set format y "%.0f"
arms = "energy vanilla random paper-matrix prune-l1 prune-slimming prune-morphnet scaled-cost scaled-epochs scratch-cost"
colours = "#0072b2 #e69f00 #999999 #56b4e9 #cc79a7 #d55e00 #8c564b #009e73 #000000 #7570b3"

# Of one arm: round, MACs, training MACs, mean, half the interval
of(arm) = sprintf("< awk -F, -v d=%s -v r=%s -v a=%s '$1 == d && $2 == r && $3 == a { n[$5]++; m[$5] += $6; c[$5] += $8; t[$5] += 100 * $9; q[$5] += 1e4 * $9 * $9 } \
END { split(\"12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262\", s, \" \"); for (k = 0; k < 9; k++) if (k in n) { mean = t[k] / n[k]; v = n[k] > 1 ? (q[k] - n[k] * mean * mean) / (n[k] - 1) : 0; \
print k \",\" m[k] / n[k] / 1e6 \",\" c[k] / n[k] / 1e12 \",\" mean \",\" (n[k] > 1 && v > 0 ? s[n[k] - 1] * sqrt(v / n[k]) : 0) } }' %s", dataset, recipe, arm, rows)
count(arm) = int(system(sprintf("grep -c '^%s,%s,%s,' %s || true", dataset, recipe, arm, rows)))


present = ""; shown = ""
do for [i = 1:words(arms)] {
  if (count(word(arms, i))) { present = present . " " . word(arms, i); shown = shown . " " . word(colours, i) }
}
do for [axis in "macs cost"] {
  set output sprintf("%s/%s-%s-%s.svg", out, dataset, recipe, axis)
  set xlabel (axis eq "macs" ? "multiply-accumulates of one image, millions" : "multiply-accumulates of the whole training, 1e12")
  set title sprintf("%s, recipe %s: mean and 95 %% interval over the seeds", dataset, recipe)
  column = axis eq "macs" ? 2 : 3
  if (words(present)) {
    plot for [i = 1:words(present)] of(word(present, i)) using column:4:5 with yerrorlines lw 2 pt 7 ps 0.6 \
      lc rgb word(shown, i) title word(present, i)
  }
}

# Of one arm: axis, mean width
widths_of(arm) = sprintf("< awk -F, -v d=%s -v r=%s -v a=%s '$1 == d && $2 == r && $3 == a { n++; m = split($5, w, \" \"); for (i = 1; i <= m; i++) s[i] += w[i] } \
END { for (i = 1; i <= m; i++) print i \",\" s[i] / n }' %s", dataset, recipe, arm, widths)
set output sprintf("%s/%s-%s-channels.svg", out, dataset, recipe)
set xtics 2
set xlabel "axis of channels, from the input to the classifier"
set ylabel "channels, mean over the seeds"
set title sprintf("%s, recipe %s: where each arm put its channels", dataset, recipe)
if (words(present)) {
  plot for [i = 1:words(present)] widths_of(word(present, i)) using 1:2 with linespoints lw 2 pt 7 ps 0.6 \
    lc rgb word(shown, i) title word(present, i)
}
