//! Matrix products on slices, on one thread.

/// A matrix in a slice: element (r, c) is at `r·row_stride + c·column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct MatrixRef<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

/// A matrix in a slice that can be written; laid out as [`MatrixRef`].
pub(crate) struct MatrixMut<'a> {
    pub data: &'a mut [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> MatrixRef<'a> {
    /// A matrix whose rows start `row_stride` elements apart.
    pub fn rows(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transposed matrix, in the same slice.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// A matrix whose rows follow each other.
    pub fn dense(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }
}

/// The elements a slice must have to hold a matrix.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

/// `dst = lhs · rhs`, or `dst += lhs · rhs` with `accumulate`.
///
/// Panics when the shapes do not fit, a slice is too short for its matrix, or elements of `dst` overlap.
#[expect(unsafe_code, reason = "gemm takes raw pointers, and has no interface by slices")]
pub(crate) fn multiply(dst: MatrixMut, lhs: MatrixRef, rhs: MatrixRef, accumulate: bool) {
    let (m, n, k) = (dst.rows, dst.columns, lhs.columns);
    assert!(
        lhs.rows == m && rhs.columns == n && rhs.rows == k,
        "multiply: [{}, {k}] times [{}, {}] into [{m}, {n}]",
        lhs.rows,
        rhs.rows,
        rhs.columns
    );
    assert!(extent(m, n, dst.row_stride, dst.column_stride) <= dst.data.len());
    assert!(extent(m, k, lhs.row_stride, lhs.column_stride) <= lhs.data.len());
    assert!(extent(k, n, rhs.row_stride, rhs.column_stride) <= rhs.data.len());
    assert!(
        (dst.column_stride == 1 && dst.row_stride >= n) || (dst.row_stride == 1 && dst.column_stride >= m),
        "multiply: elements of the destination overlap"
    );
    // SAFETY: gemm takes raw pointers. By the assertions above every element that it reads or writes lies inside of
    // the three slices, and no two elements of `dst` are the same; the borrows keep `dst` apart from the other two.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data.as_mut_ptr(),
            dst.column_stride as isize,
            dst.row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.column_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.column_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_accumulates_and_transposes() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]; // [3, 2]
        let lhs = MatrixRef::rows(&a, 2, 3, 3);
        let rhs = MatrixRef::rows(&b, 3, 2, 2);
        let mut c = [7.0; 4];
        multiply(MatrixMut::dense(&mut c, 2, 2), lhs, rhs, false);
        assert_eq!(c, [5.0, 11.0, 14.0, 23.0]);
        multiply(MatrixMut::dense(&mut c, 2, 2), lhs, rhs, true);
        assert_eq!(c, [10.0, 22.0, 28.0, 46.0]);
        // (A·B)ᵀ = Bᵀ·Aᵀ, with the destination column by column.
        let transposed = MatrixMut { data: &mut c, rows: 2, columns: 2, row_stride: 1, column_stride: 2 };
        multiply(transposed, rhs.transposed(), lhs.transposed(), false);
        assert_eq!(c, [5.0, 11.0, 14.0, 23.0]);
    }

    #[test]
    #[should_panic(expected = "times")]
    fn shapes_that_do_not_fit_panic() {
        let a = [0.0; 6];
        let mut c = [0.0; 4];
        multiply(
            MatrixMut::dense(&mut c, 2, 2),
            MatrixRef::rows(&a, 2, 3, 3),
            MatrixRef::rows(&a, 2, 3, 3),
            false,
        );
    }
}
