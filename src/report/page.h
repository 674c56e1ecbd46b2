/* What the files of a page share. */
#ifndef SOW_REPORT_PAGE_H
#define SOW_REPORT_PAGE_H

#include "report/plot.h"

/* The plot's numbers for the page's script: JSON in which no "<" stands. */
sow_status page_plot_json(writing *w, const layout *l);
/* Vega's modules and the page's own program, as one script; "" where Vega is not installed. */
sow_status page_script(sow_arena *arena, const char **script);
/* The plot as sow_plot_svg gives it, with the title drawn or only told to screen readers. */
sow_status plot_svg(sow_arena *arena, const sow_plot *plot, bool draw_title, const char **svg);
extern const char page_style[], page_program[];

#endif
