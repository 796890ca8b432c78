//! The parts of a page.

use image::RgbImage;

use super::{
    chart::Chart,
    encode::{data_uri, escape},
};
use crate::report::{ReportError, ResultTable};

/// The look of all pages, light and dark, on paper and on narrow screens.
const STYLE: &str = include_str!("style.css");

/// A picture with what it shows.
///
/// ```
/// use image::RgbImage;
/// use sed_train::report::{Figure, HtmlPage};
///
/// let mut page = HtmlPage::new("Pictures");
/// page.pictures(&[Figure { caption: "a.png".into(), picture: RgbImage::new(8, 8) }])?;
/// let html = page.finish();
/// assert!(html.contains("a.png") && html.contains("data:image/png;base64,")); // no other file is needed
/// # Ok::<(), sed_train::report::ReportError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The text below it.
    pub caption: String,
    /// The picture.
    pub picture: RgbImage,
}

/// A page in one file that needs no network: styles, charts and pictures are in it, scripts are not.
///
/// All text that is given is shown as it is: letters that have a meaning in HTML are written out. The page forbids the
/// browser to load anything or to run any script.
///
/// ```
/// use sed_train::report::HtmlPage;
///
/// let mut page = HtmlPage::new("Cats & dogs");
/// page.section("Results");
/// page.text("3 < 4");
/// let html = page.finish();
/// assert!(html.contains("<h1>Cats &amp; dogs</h1>") && html.contains("3 &lt; 4"));
/// ```
#[derive(Debug, Clone)]
pub struct HtmlPage {
    title: String,
    sections: Vec<String>,
    body: String,
}

impl HtmlPage {
    /// An empty page.
    ///
    /// ```
    /// use sed_train::report::{Cell, HtmlPage, ResultTable};
    ///
    /// let mut table = ResultTable::new(["method", "AP"]);
    /// table.push([Cell::from("sed"), Cell::number(34.2, 1)]);
    ///
    /// let mut page = HtmlPage::new("A run");
    /// page.section("Results");
    /// page.heading("All classes");
    /// page.table(&table);
    /// page.note("AP is the mean over ten IoUs.");
    /// page.warnings(&["the labels are few".to_owned()]);
    /// page.folded("Configuration", "seed = 7");
    /// let html = page.finish();
    /// assert!(html.contains("34.2") && html.contains("the labels are few") && html.contains("seed = 7"));
    /// ```
    pub fn new(title: &str) -> Self {
        Self { title: escape(title), sections: Vec::new(), body: String::new() }
    }

    /// Starts a section; the head of the page links to each.
    pub fn section(&mut self, title: &str) {
        self.sections.push(escape(title));
        let number = self.sections.len();
        self.push(&format!("<h2 id=\"s{number}\">{}</h2>\n", escape(title)));
    }

    /// Starts a part of a section.
    pub fn heading(&mut self, title: &str) {
        self.push(&format!("<h3>{}</h3>\n", escape(title)));
    }

    /// Adds a paragraph.
    pub fn text(&mut self, text: &str) {
        self.push(&format!("<p>{}</p>\n", escape(text)));
    }

    /// Adds a paragraph that explains, in a quieter colour.
    pub fn note(&mut self, text: &str) {
        self.push(&format!("<p class=\"note\">{}</p>\n", escape(text)));
    }

    /// Adds a list of texts that stand out.
    pub fn warnings(&mut self, texts: &[String]) {
        let items: String = texts.iter().map(|text| format!("<li>{}</li>\n", escape(text))).collect();
        self.push(&format!("<ul class=\"warnings\">\n{items}</ul>\n"));
    }

    /// Adds a table.
    pub fn table(&mut self, table: &ResultTable) {
        let (shown, mut rows) = (table.shown(), String::new());
        for (index, cells) in shown.iter().enumerate() {
            let tag = if index == 0 { "th" } else { "td" };
            rows.push_str("<tr>");
            for (column, cell) in cells.iter().enumerate() {
                let class = match (table.is_numeric(column), cell.chars().count() > LONG_CELL) {
                    (true, _) => " class=\"number\"",
                    (false, true) => " class=\"long\"",
                    (false, false) => "",
                };
                rows.push_str(&format!("<{tag}{class}>{}</{tag}>", escape(cell)));
            }
            rows.push_str("</tr>\n");
        }
        self.push(&format!("<div class=\"scroll\"><table>\n{rows}</table></div>\n"));
    }

    /// Adds charts side by side.
    ///
    /// # Errors
    ///
    /// If the plotter fails.
    pub fn charts(&mut self, charts: &[Chart]) -> Result<(), ReportError> {
        let figures: String = charts.iter().map(Chart::html).collect::<Result<_, _>>()?;
        self.push(&format!("<div class=\"charts\">\n{figures}</div>\n"));
        Ok(())
    }

    /// Adds pictures side by side.
    ///
    /// # Errors
    ///
    /// If a picture has no pixels.
    pub fn pictures(&mut self, figures: &[Figure]) -> Result<(), ReportError> {
        self.push("<div class=\"pictures row\">\n");
        for figure in figures {
            let caption = escape(&figure.caption);
            let uri = data_uri(&figure.picture)?;
            let (width, height) = figure.picture.dimensions();
            self.push(&format!(
                "<figure><img src=\"{uri}\" width=\"{width}\" height=\"{height}\" alt=\"{caption}\" loading=\"lazy\">\
                 <figcaption>{caption}</figcaption></figure>\n"
            ));
        }
        self.push("</div>\n");
        Ok(())
    }

    /// Adds a text of several lines as it is, folded away under a title.
    pub fn folded(&mut self, title: &str, text: &str) {
        self.push(&format!(
            "<details open><summary>{}</summary><pre>{}</pre></details>\n",
            escape(title),
            escape(text)
        ));
    }

    /// Adds HTML that is known to be safe.
    pub(super) fn push(&mut self, html: &str) {
        self.body.push_str(html);
    }

    /// The page.
    pub fn finish(self) -> String {
        let links = self.sections.iter().enumerate();
        let links: String =
            links.map(|(i, title)| format!("<a href=\"#s{}\">{title}</a>\n", i + 1)).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
             <nav>\n{links}</nav>\n{body}</body>\n</html>\n",
            title = self.title,
            body = self.body
        )
    }
}

/// Cells of more letters may break into lines.
const LONG_CELL: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cell, Series};

    /// What no page may hold wherever it is put in.
    const HOSTILE: &str = "</style></pre><script>alert(1)</script><img src=x onerror=\"alert(2)\">";

    #[test]
    fn every_text_is_escaped() {
        let mut page = HtmlPage::new(HOSTILE);
        page.section(HOSTILE);
        page.heading(HOSTILE);
        page.text(HOSTILE);
        page.note(HOSTILE);
        page.warnings(&[HOSTILE.into()]);
        let mut table = ResultTable::new([HOSTILE]);
        table.push([Cell::from(HOSTILE)]);
        page.table(&table);
        let series = Series { name: HOSTILE.into(), points: vec![(0.0, 1.0)] };
        let chart =
            Chart { title: HOSTILE.into(), x_label: HOSTILE.into(), x: None, y: None, series: vec![series] };
        page.charts(&[chart]).unwrap();
        page.pictures(&[Figure { caption: HOSTILE.into(), picture: RgbImage::new(2, 2) }]).unwrap();
        page.folded(HOSTILE, HOSTILE);
        let html = page.finish();
        assert!(!html.contains("<script") && !html.contains("<img src=x"), "{html}");
        assert_eq!((html.matches("<style>").count(), html.matches("</style>").count()), (1, 1));
        assert_eq!(html.matches("<pre>").count(), html.matches("</pre>").count());
        // In the title twice, the section twice, the chart's title twice, the picture's caption twice, and once in each
        // of heading, text, note, warning, column, cell, axis, legend, folded title and folded text.
        assert_eq!(html.matches("alert(1)").count(), 18);
    }

    #[test]
    fn nothing_is_loaded_and_sections_are_linked() {
        let mut page = HtmlPage::new("t");
        page.section("one");
        page.section("two");
        page.pictures(&[Figure { caption: "c".into(), picture: RgbImage::new(3, 2) }]).unwrap();
        let html = page.finish();
        for (number, name) in [(1, "one"), (2, "two")] {
            assert!(html.contains(&format!("<a href=\"#s{number}\">{name}</a>")), "{html}");
            assert!(html.contains(&format!("<h2 id=\"s{number}\">{name}</h2>")), "{html}");
        }
        assert!(html.contains("width=\"3\" height=\"2\"") && html.contains("default-src 'none'"));
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("url("));
    }
}
